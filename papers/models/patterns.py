"""Patterns of a few operators in PyTorch, timed the way `eutectic bench --patterns` times its programs.

    python papers/models/patterns.py --patterns list.txt --precision f16 --raw peers.jsonl

The list has a pattern and its sizes on each line, as `eutectic bench --patterns` reads it. Variants:

- `eager`: each operator as PyTorch runs it;
- `compile`: torch.compile in its default mode;
- `library`: one call of cuDNN that convolves, adds and clips, found by trying its algorithms;
- `convolution`: the same convolution of cuDNN with nothing behind it, which no unfused program can beat;
- `math`: attention as two products and a softmax.

One CUDA graph holds many calls: out of the cache each call takes the next of enough operands to exceed twice the second-level
cache, in the cache all take the same. A variant whose result differs from that of single precision has no time. Each line of the
raw file has the keys that `eutectic bench --patterns --raw` writes. `--compile-only` fills the compiler's cache and times nothing;
`--device cpu` times calls one by one, to try the program where there is no GPU.
"""

import argparse
import collections
import json
import math
import random
import time

import torch
import torch.nn.functional as F

GRAPH_SECONDS = 1.2e-3
MOST_CALLS = 1000
MOST_SETS = 256
WARM_UP = 10
TOLERANCE = {"f16": 1e-2, "tf32": 5e-3, "f32": 1e-4}
EPSILON = 1e-5


def operands_of(name, shapes, dtype, device):
    """The operands of one call: what changes from call to call, then weights."""

    def drawn(shape, depth=None, image=False):
        values = (torch.rand(shape, device=device) * 2 - 1) * (math.sqrt(3 / depth) if depth else 1)
        values = values.to(dtype)
        return values.contiguous(memory_format=torch.channels_last) if image else values

    x = shapes[0]
    if name.startswith("conv"):
        k, depth, rows, columns = shapes[1]
        found = [drawn(x, image=True), drawn(shapes[1], depth * rows * columns, image=True), drawn([k], 1)]
        if "add" in name:
            step = shapes[2][0]
            size = [(x[2] + 2 * (rows // 2) - rows) // step + 1, (x[3] + 2 * (columns // 2) - columns) // step + 1]
            found.append(drawn([x[0], k, *size], image=True))
        return found
    if name.startswith("matmul"):
        weights = [drawn(shapes[1], shapes[1][0])]
        return [drawn(x), *weights] + ([drawn(shapes[1][1:], 1)] if name != "matmul" else [])
    if name == "attention":
        n, heads, tokens, width = x
        # Heads lie inside of their tokens, as linear layers make them.
        return [drawn([n, tokens, heads, width]).transpose(1, 2) for _ in range(3)]
    row = x[-1:]
    more = {
        "bias-gelu": lambda: [drawn(row, 1)],
        "layernorm": lambda: [drawn(row, 1), drawn(row, 1)],
        "rmsnorm": lambda: [drawn(row, 1)],
        "add-layernorm": lambda: [drawn(x), drawn(row, 1), drawn(row, 1)],
    }
    return [drawn(x), *more.get(name, list)()]


def variants_of(name, shapes, device):
    """Each variant as a function of the operands."""
    if name.startswith("conv"):
        step = [shapes[2][0]] * 2 if len(shapes) > 2 else [1, 1]
        pad = [shapes[1][2] // 2, shapes[1][3] // 2]
        added = "add" in name

        def eager(x, w, b, r=None):
            y = F.conv2d(x, w, b, step, pad)
            y = y + r if added else y
            return F.relu(y) if "relu" in name else y

        found = {"eager": eager, "convolution": lambda x, w, b, r=None: F.conv2d(x, w, None, step, pad)}
        if device == "cuda" and added:
            call = torch.ops.aten.cudnn_convolution_add_relu
            found["library"] = lambda x, w, b, r: call(x, w, r, 1.0, b, step, pad, [1, 1], 1)
        elif device == "cuda" and "relu" in name:
            call = torch.ops.aten.cudnn_convolution_relu
            found["library"] = lambda x, w, b: call(x, w, b, step, pad, [1, 1], 1)
        return found
    if name == "attention":
        scale = shapes[0][-1] ** -0.5
        return {
            "eager": lambda q, k, v: F.scaled_dot_product_attention(q, k, v),
            "math": lambda q, k, v: torch.softmax(q @ k.transpose(-1, -2) * scale, -1) @ v,
        }
    row = (shapes[0][-1],)
    calls = {
        "matmul": lambda x, w: x @ w,
        "matmul-bias": lambda x, w, b: x @ w + b,
        "matmul-bias-relu": lambda x, w, b: F.relu(x @ w + b),
        "matmul-bias-gelu": lambda x, w, b: F.gelu(x @ w + b),
        "gelu": lambda x: F.gelu(x),
        "gelu-tanh": lambda x: F.gelu(x, approximate="tanh"),
        "bias-gelu": lambda x, b: F.gelu(x + b),
        "softmax": lambda x: F.softmax(x, -1),
        "layernorm": lambda x, g, b: F.layer_norm(x, row, g, b, EPSILON),
        "rmsnorm": lambda x, g: F.rms_norm(x, row, g, EPSILON),
        "add-layernorm": lambda x, r, g, b: F.layer_norm(x + r, row, g, b, EPSILON),
    }
    return {"eager": calls[name]}


def error_of(found, reference):
    distance = (found.double() - reference.double()).norm() / reference.double().norm()
    return float(distance)


class Course:
    """Many calls of one variant as one graph."""

    def __init__(self, call, sets, n, device):
        # The results of as many calls as there are sets stay, so that results do not share memory that is in the cache.
        kept = collections.deque(maxlen=len(sets) if len(sets) > 1 else 0)

        def calls():
            for at in range(n):
                kept.append(call(*sets[at % len(sets)]))

        self.n, self.device, self.samples = n, device, []
        self.replay = calls
        if device == "cuda":
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                calls()
            self.kept = kept
            self.replay = self.graph.replay

    def seconds(self):
        """Seconds of one call."""
        if self.device != "cuda":
            start = time.perf_counter()
            self.replay()
            return (time.perf_counter() - start) / self.n
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        self.replay()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3 / self.n


def n_sets(operands, result, cache_bytes):
    touched = sum(t.numel() * t.element_size() for t in [*operands, result])
    return min(MOST_SETS, max(1, -(-2 * cache_bytes // touched)))


def calls_a_graph(call, sets, device):
    trial = Course(call, sets, max(10, len(sets)), device)
    trial.seconds()
    n = min(MOST_CALLS, max(1, math.ceil(GRAPH_SECONDS / trial.seconds())))
    return -(-n // len(sets)) * len(sets)


def measured(name, shapes, given, dtype, cache_bytes):
    """The records of one pattern."""
    device = given.device
    torch.manual_seed(0)
    torch._dynamo.reset()
    operands = operands_of(name, shapes, dtype, device)
    calls = variants_of(name, shapes, device)
    calls["compile"] = torch.compile(calls["eager"], dynamic=False)
    if given.compile_only:
        calls["compile"](*operands)
        return []
    # The reference is single precision without the shorter type of tensor cores.
    cuts = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    wide = [t.float() for t in operands]
    references = {"convolution": variants_of(name, shapes, device).get("convolution", lambda *_: None)(*wide)}
    reference = variants_of(name, shapes, device)["eager"](*wide)
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = cuts
    sets = [operands] + [
        [t.clone() for t in operands] for _ in range(n_sets(operands, reference.to(dtype), cache_bytes) - 1)
    ]
    records, courses = [], []
    for variant, call in calls.items():
        about = {"kernel": name, "shape": given.sizes, "precision": given.precision, "variant": variant}
        begun = time.time()
        try:
            found = [call(*operands) for _ in range(3)][-1]
        except RuntimeError as problem:
            records.append(about | {"failure": str(problem).splitlines()[0]})
            continue
        error = error_of(found, references.get(variant, reference))
        about |= {"error": error, "prepare_seconds": time.time() - begun}
        if not error <= TOLERANCE[given.precision]:
            records.append(about | {"failure": f"the result is off by {error:.2e}"})
            continue
        for cache, used in (("cold", sets), ("warm", sets[:1])):
            course = Course(call, used, calls_a_graph(call, used, device), device)
            for _ in range(WARM_UP):
                course.seconds()
            courses.append((about | {"cache": cache, "sets": len(used), "calls": course.n}, course))
    order = random.Random(given.seed)
    for _ in range(given.samples):
        for _, course in order.sample(courses, len(courses)):
            course.samples.append(course.seconds())
    return records + [about | {"seconds": course.samples} for about, course in courses]


def environment(device):
    found = {"torch": torch.__version__, "device": device}
    if device == "cuda":
        import triton

        found |= {
            "device": torch.cuda.get_device_name(), "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(),
            "triton": triton.__version__,
        }
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patterns", required=True)
    parser.add_argument("--precision", choices=["f16", "tf32", "f32"], default="f16")
    parser.add_argument("--samples", type=int, default=31)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--compile-only", action="store_true")
    parser.add_argument("--raw")
    given = parser.parse_args()
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = given.precision == "tf32"
    dtype = torch.float16 if given.precision == "f16" else torch.float32
    cache_bytes = torch.cuda.get_device_properties(0).L2_cache_size if given.device == "cuda" else 1 << 20
    raw = open(given.raw, "a") if given.raw else None
    if raw:
        print(json.dumps({"environment": environment(given.device)}), file=raw, flush=True)
    lines = [line.split() for line in open(given.patterns) if line.strip() and not line.startswith("#")]
    with torch.inference_mode():
        for name, given.sizes in lines:
            shapes = [[int(size) for size in operand.split("x")] for operand in given.sizes.split(",")]
            for record in measured(name, shapes, given, dtype, cache_bytes):
                if raw:
                    print(json.dumps(record), file=raw, flush=True)
                seconds = sorted(record.get("seconds", []))
                shown = f"{seconds[len(seconds) // 2] * 1e6:.2f} us" if seconds else record["failure"]
                print(name, given.sizes, record["variant"], record.get("cache", ""), shown, flush=True)


if __name__ == "__main__":
    main()
