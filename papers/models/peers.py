"""The same models in PyTorch, timed the way `eutectic bench` times its programs.

    python papers/models/peers.py --model resnet50 --batch 1 8 32 --raw peers.jsonl

Variants: `eager` (one CUDA graph of the eager model) and `compile` (torch.compile in its default mode, captured in one CUDA
graph). Un-graphed PyTorch measures the host, not the device, so it is no baseline. Each line of the raw file has the keys
that `eutectic bench --raw` writes. Random weights: times do not depend on them.
"""

import argparse
import json
import time

import torch
import torch.nn.functional as F
from torch import nn

SAMPLE_SECONDS = 2e-3
IMAGES = ("resnet50", "mobilenet_v3_large", "squeezenet1_1", "vit_b_16")


class Layer(nn.Module):
    """One encoder layer of BERT, or with `before` one block of GPT-2 and ViT: norms in front."""

    def __init__(self, width, heads, before, causal, tanh):
        super().__init__()
        self.heads, self.before, self.causal = heads, before, causal
        self.approximate = "tanh" if tanh else "none"
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-12), nn.LayerNorm(width, eps=1e-12)

    def attention(self, x, mask):
        n, s, w = x.shape
        q, k, v = self.qkv(x).view(n, s, 3, self.heads, w // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=self.causal)
        return self.out(y.transpose(1, 2).reshape(n, s, w))

    def mlp(self, x):
        return self.down(F.gelu(self.up(x), approximate=self.approximate))

    def forward(self, x, mask):
        if self.before:
            x = x + self.attention(self.norm1(x), mask)
            return x + self.mlp(self.norm2(x))
        x = self.norm1(x + self.attention(x, mask))
        return self.norm2(x + self.mlp(x))


class Bert(nn.Module):
    def __init__(self, masked):
        super().__init__()
        self.masked = masked
        self.words, self.places, self.kinds = (nn.Embedding(n, 768) for n in (30522, 512, 2))
        self.norm = nn.LayerNorm(768, eps=1e-12)
        self.layers = nn.ModuleList(Layer(768, 12, False, False, False) for _ in range(12))
        self.pooler = nn.Linear(768, 768)

    def forward(self, ids, mask):
        x = self.words(ids) + self.places.weight[: ids.shape[1]] + self.kinds.weight[0]
        x = self.norm(x)
        # The exported model masks by minus infinity where the attention mask is zero.
        added = None
        if self.masked:
            added = torch.where(mask[:, None, None, :] > 0, 0.0, float("-inf")).to(x.dtype)
        for layer in self.layers:
            x = layer(x, added)
        return x, torch.tanh(self.pooler(x[:, 0]))


class Gpt2(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(50257, 768), nn.Embedding(1024, 768)
        self.layers = nn.ModuleList(Layer(768, 12, True, True, True) for _ in range(12))
        self.norm = nn.LayerNorm(768)

    def forward(self, ids, mask):
        x = self.words(ids) + self.places.weight[: ids.shape[1]]
        for layer in self.layers:
            x = layer(x, None)
        return F.linear(self.norm(x), self.words.weight)


class Wide(nn.Module):
    """A model whose results are float32, as those of the exported model are."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, *inputs):
        results = self.model(*inputs)
        return tuple(x.float() for x in results) if isinstance(results, tuple) else results.float()


def build(name, batch, masked):
    image = torch.rand(batch, 3, 224, 224, device="cuda") * 2 - 1
    ids = torch.randint(0, 2, (batch, 128), device="cuda")
    if name in IMAGES:
        import torchvision

        model = getattr(torchvision.models, name)().eval().cuda()
        model = model.to(memory_format=torch.channels_last)
        return model, [image.to(memory_format=torch.channels_last)]
    model = Bert(masked) if name == "bert" else Gpt2()
    return model.eval().cuda(), [ids, torch.ones_like(ids)]


def captured(call):
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def seconds(replay, n):
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(n):
        replay()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, choices=[*IMAGES, "bert", "gpt2"])
    parser.add_argument("--batch", type=int, nargs="+", default=[1])
    parser.add_argument("--variants", nargs="+", default=["eager", "compile"])
    parser.add_argument("--samples", type=int, default=31)
    parser.add_argument("--no-mask", action="store_true", help="BERT without its attention mask")
    parser.add_argument("--raw")
    given = parser.parse_args()
    torch.backends.cudnn.benchmark = True
    for batch in given.batch:
        for variant in given.variants:
            torch.manual_seed(0)
            torch._dynamo.reset()
            begun = time.time()
            model, inputs = build(given.model, batch, not given.no_mask)
            model = model.half()
            inputs = [x.half() if x.is_floating_point() else x for x in inputs]
            whole = Wide(model)
            call = torch.compile(whole) if variant == "compile" else whole
            with torch.inference_mode():
                replay = captured(lambda: call(*inputs))
                n = max(1, round(SAMPLE_SECONDS / (seconds(replay, 3) / 3)))
                until = time.time() + 0.3
                while time.time() < until:
                    seconds(replay, n)
                samples = [seconds(replay, n) / n for _ in range(given.samples)]
            line = {
                "model": given.model,
                "backend": "torch",
                "precision": "f16",
                "batch": batch,
                "variant": variant + ("" if given.model != "bert" else " without mask" if given.no_mask else " with mask"),
                "prepare_seconds": time.time() - begun,
                "environment": {
                    "device": torch.cuda.get_device_name(),
                    "torch": torch.__version__,
                    "cudnn": torch.backends.cudnn.version(),
                },
                "seconds": samples,
            }
            median = sorted(samples)[len(samples) // 2]
            print(f"{given.model} batch {batch} {line['variant']}: {median * 1e3:.4f} ms", flush=True)
            if given.raw:
                with open(given.raw, "a") as file:
                    print(json.dumps(line), file=file)


if __name__ == "__main__":
    main()
