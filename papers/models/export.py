"""Exports the model zoo: well-known architectures, each through several PyTorch exporters, with random weights.

Guarantees:
- every file is one self-contained ONNX model (no external data) named `<architecture>_<variant>.onnx`;
- nothing is downloaded: weights are drawn after `torch.manual_seed(0)`, and modules are in evaluation mode;
- every one-dimensional parameter (bias, scale and shift of a normalisation) is perturbed, so that a pass which drops a
  bias or folds a normalisation wrongly changes the outputs;
- the running statistics of batch normalisation are those of the activations that reach it, so activations keep a sane
  scale through the depth of the network;
- `models.json` beside the files names, for each, its SHA-256, node count, opset, inputs and library versions.

The same library versions on the same kind of processor give the same bytes. Across processors the last bits of the
drawn weights may differ, because PyTorch's vectorised normal sampler does.

Variants, by the exporter and what it leaves for an optimizer to do:

    ts17bn    TorchScript exporter, opset 17, batch normalisation kept as a node, no constant folding
    ts17      TorchScript exporter, opset 17, as most files in circulation were made
    ts17dyn   the same, batch and sequence axes symbolic
    dy18      torch.export exporter, opset 18, with its own optimizer (the default of `torch.onnx.export`)
    dy18raw   torch.export exporter, opset 18, without it
    dy18dyn   as dy18, batch axis symbolic
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import io
import json
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import timm
import torch
import torchvision
import transformers

SEED = 0
SEQUENCE_LENGTH = 128
IMAGE_SHAPE = (1, 3, 224, 224)
VERSIONED = ("onnx", "onnxscript", "timm", "torch", "torchvision", "transformers")


@dataclass(frozen=True)
class Architecture:
    """One network: how to build it, what it reads, what it writes, which variants are exported."""

    name: str
    build: Callable[[], torch.nn.Module]
    example: Callable[[], tuple[torch.Tensor, ...]]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    variants: tuple[str, ...]


def architectures() -> list[Architecture]:
    """The zoo, in export order."""
    images = ("ts17bn", "dy18", "dy18raw")
    sequences = ("ts17", "ts17dyn", "dy18", "dy18raw", "dy18dyn")
    models = torchvision.models
    return [
        vision("resnet50", models.resnet50, (*images, "dy18dyn")),
        vision("squeezenet1_1", models.squeezenet1_1, images),
        vision("mobilenet_v3_large", models.mobilenet_v3_large, images),
        vision("efficientnet_b0", models.efficientnet_b0, images),
        vision("resnext50", models.resnext50_32x4d, images),
        vision("vgg19", models.vgg19, ("ts17", "dy18")),
        vision("densenet121", models.densenet121, images),
        vision("inception_v3", lambda weights: models.inception_v3(weights=weights, init_weights=False), images, 299),
        vision("deeplabv3_resnet50", segmentation, images),
        vision("convnext_tiny", models.convnext_tiny, ("ts17", "dy18", "dy18raw")),
        vision("vit_b_16", models.vit_b_16, ("ts17", "dy18", "dy18raw", "dy18dyn")),
        vision("swin_t", models.swin_t, ("ts17", "dy18", "dy18raw")),
        vision("nasnet_a", lambda weights: timm.create_model("nasnetalarge", pretrained=False), ("ts17bn", "dy18"), 331),
        Architecture(
            "nasrnn",
            lambda: NasRnn(hidden_size=512, n_steps=5),
            lambda: (torch.randn(5, 1, 512, generator=torch.Generator().manual_seed(SEED)),),
            ("input",),
            ("state",),
            ("ts17", "dy18"),
        ),
        Architecture(
            "bert_base",
            lambda: BertOutputs(transformers.BertModel(eager(transformers.BertConfig()))),
            lambda: token_example(transformers.BertConfig().vocab_size),
            ("input_ids", "attention_mask"),
            ("last_hidden_state", "pooler_output"),
            sequences,
        ),
        Architecture(
            "bert_base_unmasked",
            lambda: BertOutputs(transformers.BertModel(eager(transformers.BertConfig()))),
            lambda: token_example(transformers.BertConfig().vocab_size)[:1],
            ("input_ids",),
            ("last_hidden_state", "pooler_output"),
            ("ts17",),
        ),
        Architecture(
            "gpt2",
            lambda: CausalLogits(transformers.GPT2LMHeadModel(eager(transformers.GPT2Config(use_cache=False)))),
            lambda: token_example(transformers.GPT2Config().vocab_size),
            ("input_ids", "attention_mask"),
            ("logits",),
            sequences,
        ),
        Architecture(
            "t5_encoder",
            lambda: Hidden(transformers.T5EncoderModel(eager(transformers.T5Config(num_layers=6)))),
            lambda: token_example(transformers.T5Config().vocab_size),
            ("input_ids", "attention_mask"),
            ("last_hidden_state",),
            sequences,
        ),
        Architecture(
            "llama_small",
            lambda: CausalLogits(transformers.LlamaForCausalLM(eager(small_llama()))),
            lambda: token_example(small_llama().vocab_size),
            ("input_ids", "attention_mask"),
            ("logits",),
            sequences,
        ),
    ]


def vision(
    name: str, factory: Callable[..., torch.nn.Module], variants: tuple[str, ...], side: int = IMAGE_SHAPE[-1]
) -> Architecture:
    """A network for images: `input` float[1,3,side,side] to `logits`."""
    return Architecture(
        name,
        lambda: factory(weights=None),
        lambda: (torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(SEED)),),
        ("input",),
        ("logits",),
        variants,
    )


def eager(config: transformers.PretrainedConfig) -> transformers.PretrainedConfig:
    """Asks for attention written out as matrix products and a softmax, the form that fusion rules look for."""
    config._attn_implementation = "eager"
    return config


def token_example(vocab_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """`input_ids` and `attention_mask`, both int64[1, SEQUENCE_LENGTH]; the last eighth of the positions is padding."""
    generator = torch.Generator().manual_seed(SEED)
    input_ids = torch.randint(0, vocab_size, (1, SEQUENCE_LENGTH), generator=generator)
    attention_mask = torch.ones_like(input_ids)
    attention_mask[:, -SEQUENCE_LENGTH // 8 :] = 0
    return input_ids, attention_mask


class BertOutputs(torch.nn.Module):
    """BERT as a function of two tensors to two tensors; exporters cannot flatten `ModelOutput`."""

    def __init__(self, bert: transformers.BertModel) -> None:
        super().__init__()
        self.bert = bert

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        outputs = self.bert(input_ids=input_ids, attention_mask=attention_mask)
        return outputs.last_hidden_state, outputs.pooler_output


class CausalLogits(torch.nn.Module):
    """A decoder with its language-modelling head, without the key-value cache."""

    def __init__(self, decoder: transformers.PreTrainedModel) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.decoder(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits


class Hidden(torch.nn.Module):
    """An encoder as a function to its last hidden state."""

    def __init__(self, encoder: transformers.PreTrainedModel) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state


def small_llama() -> transformers.LlamaConfig:
    """A decoder of four layers with grouped queries, rotary positions, RMS normalisation and SwiGLU: 60 million weights."""
    return transformers.LlamaConfig(
        vocab_size=32000,
        hidden_size=512,
        intermediate_size=1376,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        use_cache=False,
    )


def segmentation(weights: None) -> torch.nn.Module:
    """DeepLabV3 on ResNet-50 as a function to its main output."""

    class Main(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = torchvision.models.segmentation.deeplabv3_resnet50(weights=weights, weights_backbone=None)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.network(image)["out"]

    return Main()


class NasRnn(torch.nn.Module):
    """The recurrent cell that Zoph and Le found (2017), unrolled: the network that TASO and TENSAT report as NasRNN.

    `input` float[n_steps, 1, hidden_size] to the last state, float[1, hidden_size]. Each of eight gates adds a product of
    the input and one of the state; a fixed tree of activations joins them.
    """

    def __init__(self, hidden_size: int, n_steps: int) -> None:
        super().__init__()
        draw = lambda: torch.nn.Parameter(torch.randn(hidden_size, hidden_size) / hidden_size**0.5)
        self.of_input = torch.nn.ParameterList([draw() for _ in range(8 * n_steps)])
        self.of_state = torch.nn.ParameterList([draw() for _ in range(8 * n_steps)])
        self.n_steps = n_steps

    def forward(self, sequence: torch.Tensor) -> torch.Tensor:
        relu, sigmoid, tanh = torch.relu, torch.sigmoid, torch.tanh
        state = sequence[0]
        for step in range(self.n_steps):
            x = sequence[step]
            at = range(8 * step, 8 * step + 8)
            g = [x @ self.of_input[i] + state @ self.of_state[i] for i in at]
            a = relu(g[0]) + sigmoid(g[3])
            b = sigmoid(g[1]) + tanh(g[2])
            c = sigmoid(g[4]) * tanh(g[5])
            d = sigmoid(g[6]) * relu(g[7])
            state = tanh(tanh(sigmoid(b) + tanh(c)) * tanh(tanh(a) * tanh(d)))
        return state


def build(architecture: Architecture) -> torch.nn.Module:
    """The module in evaluation mode, with weights that depend on `SEED` alone."""
    torch.manual_seed(SEED)
    module = architecture.build().eval()
    damp_residual_branches(module)
    perturb_vectors(module)
    calibrate_batch_norms(module, architecture.example()[0].shape)
    return module.eval()


@torch.no_grad()
def damp_residual_branches(module: torch.nn.Module) -> None:
    """Scales the normalisation that ends each residual branch by 1/4, as training does from a zero start.

    At a scale of 1, a random ResNet-50 amplifies rounding errors from block to block: its half-precision outputs are off
    by 3 % instead of 0.2 %, which would hide an optimizer's own errors. Zero start: Goyal et al. 2017, section 5.1.
    """
    for child in module.modules():
        if isinstance(child, torchvision.models.resnet.Bottleneck):
            child.bn3.weight.mul_(0.25)
        elif isinstance(child, torchvision.models.efficientnet.MBConv) and child.use_res_connect:
            project = child.block[-1]
            project[1].weight.mul_(0.25)


@torch.no_grad()
def perturb_vectors(module: torch.nn.Module) -> None:
    """Adds N(0, 0.1^2) to every one-dimensional parameter; most are initialised to all zeros or all ones."""
    for parameter in module.parameters():
        if parameter.dim() == 1:
            parameter.add_(0.1 * torch.randn_like(parameter))


@torch.no_grad()
def calibrate_batch_norms(module: torch.nn.Module, shape: torch.Size) -> None:
    """Sets running means and variances to averages over three random batches of four images.

    Only batch normalisation is put in training mode: dropout and stochastic depth stay off.
    """
    norms = [child for child in module.modules() if isinstance(child, torch.nn.BatchNorm2d)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # A cumulative average instead of an exponential one.
        norm.train()
    for _ in range(3):
        module(torch.randn(4, *shape[1:]))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def export(architecture: Architecture, variant: str, module: torch.nn.Module) -> onnx.ModelProto:
    """The ONNX model of `module` through the exporter that `variant` names."""
    example = architecture.example()
    if variant.startswith("ts17"):
        return export_torchscript(architecture, variant, module, example)
    return export_dynamo(architecture, variant, module, example)


def export_torchscript(
    architecture: Architecture, variant: str, module: torch.nn.Module, example: tuple[torch.Tensor, ...]
) -> onnx.ModelProto:
    # In evaluation mode the exporter folds batch normalisation into convolutions before any ONNX node exists.
    # `PRESERVE` skips that pass and, the module being in evaluation mode, still emits the inference form.
    keep_norms = variant == "ts17bn"
    training = torch.onnx.TrainingMode.PRESERVE if keep_norms else torch.onnx.TrainingMode.EVAL
    dynamic_axes = None
    if variant == "ts17dyn":
        names = (*architecture.input_names, *architecture.output_names)
        dynamic_axes = {name: {0: "batch", 1: "sequence"} for name in names}
        dynamic_axes |= {name: {0: "batch"} for name in names if name == "pooler_output"}
    buffer = io.BytesIO()
    torch.onnx.export(
        module,
        example,
        buffer,
        dynamo=False,
        opset_version=17,
        training=training,
        do_constant_folding=not keep_norms,
        input_names=list(architecture.input_names),
        output_names=list(architecture.output_names),
        dynamic_axes=dynamic_axes,
    )
    return onnx.load_from_string(buffer.getvalue())


def export_dynamo(
    architecture: Architecture, variant: str, module: torch.nn.Module, example: tuple[torch.Tensor, ...]
) -> onnx.ModelProto:
    dynamic_shapes = None
    if variant == "dy18dyn":
        # `torch.export` specialises an axis whose example extent is 1, so the example has a batch of 2.
        example = tuple(torch.cat([tensor, tensor]) for tensor in example)
        batch = torch.export.Dim("batch")
        dynamic_shapes = tuple({0: batch} for _ in example)
    program = torch.onnx.export(
        module,
        example,
        dynamo=True,
        opset_version=18,
        optimize=variant != "dy18raw",
        input_names=list(architecture.input_names),
        output_names=list(architecture.output_names),
        dynamic_shapes=dynamic_shapes,
        verbose=False,
    )
    model = program.model_proto
    drop_stack_traces(model)
    return model


def drop_stack_traces(model: onnx.ModelProto) -> None:
    """Removes the one metadata entry that holds paths of this machine, and so would change the file's hash."""
    holders = [model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output]
    for function in model.functions:
        holders += [function, *function.node]
    for holder in holders:
        kept = [entry for entry in holder.metadata_props if entry.key != "pkg.torch.onnx.stack_trace"]
        del holder.metadata_props[:]
        holder.metadata_props.extend(kept)


def describe(name: str, path: Path, model: onnx.ModelProto) -> dict:
    """The manifest entry of a written model."""
    nodes = [node.op_type for node in model.graph.node]
    return {
        "name": name,
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "bytes": path.stat().st_size,
        "n_nodes": len(nodes),
        "n_nodes_without_constants": len(nodes) - nodes.count("Constant"),
        "opset": {opset.domain or "ai.onnx": opset.version for opset in model.opset_import},
        "inputs": [signature(value) for value in model.graph.input],
        "outputs": [signature(value) for value in model.graph.output],
        "versions": {package: importlib.metadata.version(package) for package in VERSIONED},
    }


def signature(value: onnx.ValueInfoProto) -> dict:
    tensor = value.type.tensor_type
    dims = [dim.dim_param if dim.HasField("dim_param") else dim.dim_value for dim in tensor.shape.dim]
    return {"name": value.name, "type": onnx.TensorProto.DataType.Name(tensor.elem_type), "shape": dims}


def read_manifest(path: Path) -> dict[str, dict]:
    if not path.exists():
        return {}
    return {entry["name"]: entry for entry in json.loads(path.read_text())["models"]}


def write_manifest(path: Path, entries: dict[str, dict]) -> None:
    models = [entries[name] for name in sorted(entries)]
    path.write_text(json.dumps({"seed": SEED, "models": models}, indent=1) + "\n")


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the models and models.json go")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="architectures (resnet50) or models (resnet50_dy18) to export"
    )
    parser.add_argument("--list", action="store_true", help="print the names of the models and stop")
    arguments = parser.parse_args(argv)
    if not arguments.list and arguments.out is None:
        parser.error("--out DIR is needed unless --list is given")
    known = {name for a in architectures() for name in (a.name, *(f"{a.name}_{v}" for v in a.variants))}
    unknown = [name for name in arguments.only or () if name not in known]
    if unknown:
        parser.error(f"no such model: {', '.join(unknown)}; --list prints those there are")
    return arguments


def main(argv: Sequence[str]) -> int:
    """Exports what was asked for. Returns 1 if any model failed, after having tried them all."""
    arguments = parse_arguments(argv)
    failed = []
    for architecture in architectures():
        wanted = [
            variant
            for variant in architecture.variants
            if not arguments.only or {architecture.name, f"{architecture.name}_{variant}"} & set(arguments.only)
        ]
        if arguments.list:
            print(*(f"{architecture.name}_{variant}" for variant in wanted), sep="\n")
            continue
        if not wanted:
            continue
        arguments.out.mkdir(parents=True, exist_ok=True)
        for variant in wanted:
            name = f"{architecture.name}_{variant}"
            path = arguments.out / f"{name}.onnx"
            try:
                # Exporters may leave hooks or shape caches on a module, so each variant gets a fresh one.
                model = export(architecture, variant, build(architecture))
            except Exception:
                traceback.print_exc()
                failed.append(name)
                continue
            # Written aside and renamed, so that nobody reads half a model.
            onnx.save_model(model, path.with_suffix(".partial"))
            path.with_suffix(".partial").replace(path)
            entry = describe(name, path, model)
            # Read again before each write, so an interrupted run loses nothing.
            manifest_path = arguments.out / "models.json"
            write_manifest(manifest_path, read_manifest(manifest_path) | {name: entry})
            print(f"{name:28} {entry['n_nodes']:5} nodes  {entry['bytes']:>11,} bytes", flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    sys.exit(main(sys.argv[1:]))
