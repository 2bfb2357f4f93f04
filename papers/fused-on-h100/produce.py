"""The records of one part of the study.

usage: produce.py PART PROCESS EUTECTIC OUT   measure a part, or take over samples of whole networks
       produce.py --compile                   let torch.compile fill its cache, many processes at a time

Parts are `ours/...` and `torch/...`, patterns that `eutectic bench --patterns` and papers/models/patterns.py time on this
machine's GPU, and `networks/...`, samples of whole networks in benches/results/cuda-h100-whole-graphs, taken on such a card.
`PYTHON` names the interpreter that has PyTorch, `EUTECTIC_LIBRARIES` directories of NVIDIA's libraries for ours. `eutectic bench` samples each program a second time as if it were another one;
that becomes a variant of its own, `-again`.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
NETWORKS = HERE / "../../benches/results/cuda-h100-whole-graphs"
PATTERNS = HERE / "../models/patterns.py"
SAMPLES = 21
LIMIT_SECONDS = 200
# Processes that compile side by side.
COMPILERS = 15

# Channels in, size of the image, channels out, size of the filter, step: the distinct convolutions of ResNet-50 v1.5.
CONVOLUTIONS = [
    (3, 224, 64, 7, 2), (64, 56, 64, 1, 1), (64, 56, 64, 3, 1), (64, 56, 256, 1, 1), (128, 56, 128, 3, 2), (256, 56, 64, 1, 1),
    (256, 56, 128, 1, 1), (256, 56, 512, 1, 2), (128, 28, 128, 3, 1), (128, 28, 512, 1, 1), (256, 28, 256, 3, 2),
    (512, 28, 128, 1, 1), (512, 28, 256, 1, 1), (512, 28, 1024, 1, 2), (256, 14, 256, 3, 1), (256, 14, 1024, 1, 1),
    (512, 14, 512, 3, 2), (1024, 14, 256, 1, 1), (1024, 14, 512, 1, 1), (1024, 14, 2048, 1, 2), (512, 7, 512, 3, 1),
    (512, 7, 2048, 1, 1), (2048, 7, 512, 1, 1),
]
# Those that end a block, where the block's input is added.
RESIDUAL = [(64, 56, 256, 1, 1), (128, 28, 512, 1, 1), (256, 14, 1024, 1, 1), (512, 7, 2048, 1, 1)]
ROWS = ["layernorm", "add-layernorm", "rmsnorm", "softmax", "gelu", "gelu-tanh", "bias-gelu"]
ROW_SIZES = ["128x768", "1024x768", "32768x768"]
HEADS = ["1x12x128x64", "8x12x128x64", "32x12x128x64", "1x12x1024x64"]
# Which batches each precision is measured at, by who measures it: one process tunes for one batch.
BATCHES = {"f16": [1, 8, 32], "tf32": [1, 8, 32], "f32": [1]}

MODELS = {
    "resnet50_ts17bn.onnxtxt": "resnet50", "resnet50": "resnet50", "bert_base_ts17.onnxtxt": "bert", "bert": "bert",
    "gpt2_dy18.onnxtxt": "gpt2", "gpt2": "gpt2", "mobilenet_v3_large_dy18.onnxtxt": "mobilenet", "mobilenet_v3_large": "mobilenet",
}
VARIANTS = {
    "fused": "fused", "unfused": "unfused", "eager": "torch-eager", "eager with mask": "torch-eager", "compile": "torch-compile",
    "compile with mask": "torch-compile", "library": "cudnn-fused", "convolution": "cudnn-convolution", "math": "torch-math",
}
BYTES = {"f16": 2, "bf16": 2, "tf32": 4, "f32": 4}


def convolution(name, batch, layer):
    channels, size, filters, kernel, step = layer
    return f"{name} {batch}x{channels}x{size}x{size},{filters}x{channels}x{kernel}x{kernel},{step}"


def patterns(what, precision, batches):
    """The list of a part, a pattern and its sizes a line."""
    if what == "rows":
        rows = [f"{name} {size}" for name in ROWS for size in ROW_SIZES]
        return rows + ([f"attention {heads}" for heads in HEADS] if precision == "f16" else [])
    return [
        convolution(name, batch, layer)
        for batch in batches
        for name, layers in (("conv-bias-relu", CONVOLUTIONS), ("conv-bias-add-relu", RESIDUAL))
        for layer in layers
    ]


def of_part(part):
    """The precision and the list of `conv-f16`, `conv-f16-b8` or `rows-f32`."""
    what, precision, *batch = part.split("-")
    batches = [int(batch[0][1:])] if batch else BATCHES[precision]
    return precision, patterns(what, precision, batches)


def operands(sizes):
    return [[int(size) for size in operand.split("x")] for operand in sizes.split(",")]


def work(name, sizes, precision):
    """Operations, and bytes of operands and result, each of which is read or written once at least."""
    shapes = operands(sizes)
    if name.startswith("conv"):
        (n, channels, height, width), (filters, _, rows, columns), (step,) = shapes
        out = n * filters * ((height - 1) // step + 1) * ((width - 1) // step + 1)
        numbers = n * channels * height * width + filters * (channels * rows * columns + 1) + out
        return 2 * out * channels * rows * columns, BYTES[precision] * (numbers + (out if "add" in name else 0))
    x = shapes[0]
    count = 1
    for size in x:
        count *= size
    if name == "attention":
        # Two products of each query with each key.
        return 4 * count * x[2], BYTES[precision] * 4 * count
    weights = {"layernorm": 2, "add-layernorm": 2, "rmsnorm": 1, "bias-gelu": 1}.get(name, 0) * x[-1]
    # What a kernel reads and writes bounds it, not what it computes.
    return 0, BYTES[precision] * ((3 if name == "add-layernorm" else 2) * count + weights)


def layer_of(name, sizes):
    """The batch, and what the sizes are called: `56: 64-256 1x1`, `28: 256-256 3x3/2`, or the shape without its batch."""
    shapes = operands(sizes)
    if name.startswith("conv"):
        (n, channels, height, _), (filters, _, rows, columns), (step,) = shapes
        return n, f"{height}: {channels}-{filters} {rows}x{columns}" + (f"/{step}" if step > 1 else "")
    if name == "attention":
        n, heads, tokens, width = shapes[0]
        return n, f"{heads} heads, {tokens} tokens"
    return 1, sizes


def records(line):
    if "environment" in line and "variant" not in line:
        if "copy_bytes_per_second" in line:
            yield {
                "variant": "ceiling", "precision": line["precision"], "copy": line["copy_bytes_per_second"],
                "product": line["product_operations_per_second"], "clock_mhz": line["clock_mhz"],
            }
        return
    if "variant" not in line:
        yield line
        return
    about = {"variant": VARIANTS[line["variant"]], "precision": line["precision"]}
    if line.get("kernel"):
        name = line["kernel"]
        batch, layer = layer_of(name, line["shape"])
        about |= {"pattern": name, "layer": layer, "batch": batch, "cache": line.get("cache", "cold")}
        if "failure" in line:
            yield about | {"failure": line["failure"]}
            return
        operations, bytes_moved = work(name, line["shape"], line["precision"])
        measured = {"operations": operations, "bytes": bytes_moved}
    else:
        about |= {"model": MODELS[line["model"]], "batch": line["batch"]}
        measured = {}
    measured["seconds"] = line["seconds"]
    measured |= {name: line[name] for name in ("error", "launches", "prepare_seconds", "clock_mhz") if name in line}
    yield about | measured
    if line.get("control_seconds"):
        yield about | {"variant": about["variant"] + "-again", "seconds": line["control_seconds"]}


def command_of(part, program, list_path, raw):
    """How the patterns of a part are measured, and the environment of that."""
    precision, _ = of_part(part.split("/")[1])
    arguments = ["--patterns", list_path, "--precision", precision, "--samples", str(SAMPLES), "--raw", raw]
    environment = dict(os.environ)
    if part.startswith("ours/"):
        libraries = [environment.get(name) for name in ("EUTECTIC_LIBRARIES", "LD_LIBRARY_PATH")]
        environment["LD_LIBRARY_PATH"] = ":".join(filter(None, libraries))
        return [program, "bench", *arguments], environment
    return [os.environ.get("PYTHON", sys.executable), str(PATTERNS), *arguments], environment


def lines_of(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines() if line.strip()]


def measure(part, program):
    """The lines of raw samples, and whether the program ended as it should."""
    with tempfile.TemporaryDirectory() as scratch:
        list_path, raw = Path(scratch) / "patterns.txt", Path(scratch) / "raw.jsonl"
        _, wanted = of_part(part.split("/")[1])
        list_path.write_text("\n".join(wanted) + "\n")
        raw.touch()
        command, environment = command_of(part, program, str(list_path), str(raw))
        try:
            code = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, timeout=LIMIT_SECONDS).returncode
        except subprocess.TimeoutExpired:
            print(f"error: not done after {LIMIT_SECONDS} s", file=sys.stderr)
            code = 1
        return lines_of(raw), code


def compile_all():
    """Fills the cache of torch.compile for every part of PyTorch."""
    jobs = [
        (of_part(part)[0], line) for part in ("conv-f16", "conv-tf32", "conv-f32", "rows-f16", "rows-f32")
        for line in of_part(part)[1]
    ]
    jobs.sort(key=lambda job: job[0])
    share = -(-len(jobs) // COMPILERS)
    with tempfile.TemporaryDirectory() as scratch:
        running = []
        for precision in ("f16", "f32", "tf32"):
            wanted = [line for found, line in jobs if found == precision]
            for at in range(0, len(wanted), share):
                path = Path(scratch) / f"{precision}-{at}.txt"
                path.write_text("\n".join(wanted[at : at + share]) + "\n")
                command, environment = command_of(f"torch/rows-{precision}", "", str(path), "/dev/null")
                environment["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
                running.append(subprocess.Popen([*command, "--compile-only"], env=environment, stdout=subprocess.DEVNULL))
        for process in running:
            process.wait()


def main():
    if sys.argv[1] == "--compile":
        compile_all()
        return 0
    part, process, program, out = sys.argv[1:]
    code = 0
    if part.startswith("networks/"):
        # The samples of one process are no samples of a second.
        lines = lines_of(NETWORKS / f"{part.split('/')[1]}.jsonl") if process == "0" else []
    else:
        lines, code = measure(part, program)
    with open(out, "a", encoding="utf-8") as file:
        for line in lines:
            for record in records(line):
                file.write(json.dumps(record) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
