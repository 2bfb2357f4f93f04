"""Exports the model zoo: six well-known architectures, each through several PyTorch exporters, with random weights.

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
import torch
import torchvision
import transformers

SEED = 0
SEQUENCE_LENGTH = 128
IMAGE_SHAPE = (1, 3, 224, 224)
VERSIONED = ("onnx", "onnxscript", "torch", "torchvision", "transformers")


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
    return [
        vision("resnet50", torchvision.models.resnet50, (*images, "dy18dyn")),
        vision("squeezenet1_1", torchvision.models.squeezenet1_1, images),
        vision("mobilenet_v3_large", torchvision.models.mobilenet_v3_large, images),
        vision("efficientnet_b0", torchvision.models.efficientnet_b0, images),
        Architecture(
            "bert_base",
            lambda: BertOutputs(transformers.BertModel(eager(transformers.BertConfig()))),
            lambda: token_example(transformers.BertConfig().vocab_size),
            ("input_ids", "attention_mask"),
            ("last_hidden_state", "pooler_output"),
            sequences,
        ),
        Architecture(
            "gpt2",
            lambda: Gpt2Logits(transformers.GPT2LMHeadModel(eager(transformers.GPT2Config(use_cache=False)))),
            lambda: token_example(transformers.GPT2Config().vocab_size),
            ("input_ids", "attention_mask"),
            ("logits",),
            sequences,
        ),
    ]


def vision(name: str, factory: Callable[..., torch.nn.Module], variants: tuple[str, ...]) -> Architecture:
    """A torchvision classifier: `input` float[1,3,224,224] to `logits` float[1,1000]."""
    return Architecture(
        name,
        lambda: factory(weights=None),
        lambda: (torch.randn(IMAGE_SHAPE, generator=torch.Generator().manual_seed(SEED)),),
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

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        outputs = self.bert(input_ids=input_ids, attention_mask=attention_mask)
        return outputs.last_hidden_state, outputs.pooler_output


class Gpt2Logits(torch.nn.Module):
    """GPT-2 with its language-modelling head, without the key-value cache."""

    def __init__(self, gpt2: transformers.GPT2LMHeadModel) -> None:
        super().__init__()
        self.gpt2 = gpt2

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.gpt2(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits


def build(architecture: Architecture) -> torch.nn.Module:
    """The module in evaluation mode, with weights that depend on `SEED` alone."""
    torch.manual_seed(SEED)
    module = architecture.build().eval()
    damp_residual_branches(module)
    perturb_vectors(module)
    calibrate_batch_norms(module)
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
def calibrate_batch_norms(module: torch.nn.Module) -> None:
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
        module(torch.randn(4, *IMAGE_SHAPE[1:]))
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
