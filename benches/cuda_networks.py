"""Whole networks on the GPU of this machine, fused and unfused, each beside PyTorch on the same card in the same run.

    python benches/cuda_networks.py --program target/release/eutectic --into benches/results/cuda-h100-networks

The Python that runs this has PyTorch with CUDA; both sides use the libraries that it brings. A run whose file is there already is
left out, so what was cut off goes on. `--only bert vit` takes some networks, `--seconds 500` begins no run after that time, and `--table`
measures nothing: it writes the tables of README.md in the directory anew, each between its two marks: of the networks, and of the ways to
each convolution of ResNet-50.
"""

import argparse
import glob
import json
import os
import pathlib
import site
import statistics
import subprocess
import sys
import time

MODELS = pathlib.Path(__file__).parent.parent / "papers/models"
PEERS = MODELS / "peers.py"

# Name, how the table calls it, our model, PyTorch's, its arguments, batches.
NETWORKS = [
    ("resnet", "ResNet-50", "resnet50_ts17bn", "resnet50", [], [1, 8, 32]),
    ("vit", "ViT-B/16", "vit_b_16_dy18dyn", "vit_b_16", [], [1, 8, 32]),
    ("bert-unmasked", "BERT-base, sequence 128, no mask", "bert_base_unmasked_ts17", "bert", ["--no-mask"], [1, 8, 32]),
    ("gpt2", "GPT-2, sequence 128, all logits", "gpt2_dy18", "gpt2", [], [1, 8, 32]),
    ("mobilenet", "MobileNet-v3", "mobilenet_v3_large_dy18", "mobilenet_v3_large", [], [1, 8]),
    ("bert", "BERT-base, sequence 128, with mask", "bert_base_ts17", "bert", [], [1, 8, 32]),
]

# What is measured in other types: without a peer, so that each is compared with float16 of the same run.
PRECISIONS = [
    ("resnet", "int8", [1, 8, 32]),
    ("bert", "fp8", [8, 32]),
    ("bert", "int8", [8, 32]),
    ("resnet", "tf32", [1, 8, 32]),
    ("bert", "bf16", [8]),
]

MARK = "<!-- table: benches/cuda_networks.py --table -->"
WAYS_MARK = "<!-- ways in {}: benches/cuda_networks.py --table -->"
LIMIT_SECONDS = 150


def libraries():
    """Directories of NVIDIA's libraries that this Python's packages bring."""
    return ":".join(sorted(path for base in site.getsitepackages() for path in glob.glob(f"{base}/nvidia/*/lib")))


def runs(program):
    """Name and command of each run, in order; a command writes to the path that is appended to it."""
    for name, _, model, peer, arguments, batches in NETWORKS:
        for batch in batches:
            yield f"{name}-f16-b{batch}", bench(program, model, "f16", batch)
        batches = [str(batch) for batch in batches]
        yield f"peers-{name}", [sys.executable, PEERS, "--model", peer, "--batch", *batches, *arguments, "--raw"]
    # Everything is tuned and compiled by now: what a user waits for who runs a model again.
    yield "second-start", bench(program, "resnet50_ts17bn", "f16", 8)
    models = {name: model for name, _, model, _, _, _ in NETWORKS}
    for name, precision, batches in PRECISIONS:
        for batch in batches:
            yield f"{name}-{precision}-b{batch}", bench(program, models[name], precision, batch)


def bench(program, model, precision, batch):
    command = [program, "bench", MODELS / f"{model}.onnxtxt", "--precision", precision, "--batch", str(batch)]
    more = ["--calibrator", "max"] if precision in ("int8", "fp8") else []
    # How much is due to kernels of ours is asked of the network whose kernels are compared one by one.
    more += ["--by-libraries"] if model.startswith("resnet") and precision == "f16" else []
    return [*command, *more, "--samples", "31", "--kernels", "--ways", "--raw"]


def measure(options):
    start = time.time()
    environment = os.environ | {"EUTECTIC_LIBRARIES": libraries()}
    options.into.mkdir(parents=True, exist_ok=True)
    for name, command in runs(options.program):
        network = name.removeprefix("peers-").rsplit("-b", 1)[0].removesuffix("-f16")
        raw, left = options.into / f"{name}.jsonl", options.seconds - (time.time() - start)
        if raw.exists() or (options.only and network not in options.only):
            continue
        if left <= 0:
            print(f"{name}: not begun, the time is over")
            continue
        part = raw.with_suffix(".part")
        part.unlink(missing_ok=True)
        with open(options.into / f"{name}.txt", "w", encoding="utf-8") as log:
            try:
                limit = min(LIMIT_SECONDS, left)
                status = subprocess.run([*command, part], stdout=log, stderr=log, env=environment, timeout=limit).returncode
            except subprocess.TimeoutExpired:
                status = "none, stopped at the limit of time"
        if status == 0:
            part.rename(raw)
            print(f"{time.time() - start:6.1f} s  {name}: {told(raw)}", flush=True)
        else:
            lines = (options.into / f"{name}.txt").read_text(errors="replace").strip().splitlines()
            print(f"{time.time() - start:6.1f} s  {name}: exit status {status}", *lines[-12:], sep="\n    ", flush=True)


def records(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def milliseconds(record):
    return statistics.median(record["seconds"]) * 1e3


def told(path):
    def one(record):
        error = f" (error {record['error']:.1e})" if record.get("error") is not None else ""
        batch = f" b{record['batch']}" if record["backend"] == "torch" else ""
        return f"{record['variant']}{batch} {milliseconds(record):.3f} ms{error}, prepared in {record['prepare_seconds']:.2f} s"

    return "; ".join(one(record) for record in records(path))


def table(directory):
    """Rows of medians in milliseconds, and of what PyTorch's best variant takes."""
    heads = ["network", "type", "batch", "fused ms", "unfused ms", "unfused/fused", "fused by libraries ms", "unfused by libraries ms"]
    heads += ["unfused by libraries/fused", "best of PyTorch ms", "which", "PyTorch/fused"]
    rows = []
    titles = {name: title for name, title, *_ in NETWORKS}
    measured = [(name, "f16", batch) for name, *_, batches in NETWORKS for batch in batches]
    measured += [(name, precision, batch) for name, precision, batches in PRECISIONS for batch in batches]
    for name, precision, batch in measured:
        ours = {record["variant"]: milliseconds(record) for record in records(directory / f"{name}-{precision}-b{batch}.jsonl")}
        if not ours:
            continue
        peers = [record for record in records(directory / f"peers-{name}.jsonl") if record["batch"] == batch and precision == "f16"]
        best = min(peers, key=milliseconds, default=None)
        fused, unfused = ours["fused"], ours["unfused"]
        cells = [titles[name], precision, str(batch), f"{fused:.3f}", f"{unfused:.3f}", f"{unfused / fused:.2f}"]
        by_libraries = ours.get("unfused by libraries")
        cells += [f"{ours['fused by libraries']:.3f}", f"{by_libraries:.3f}", f"{by_libraries / fused:.2f}"] if by_libraries else [""] * 3
        cells += [f"{milliseconds(best):.3f}", best["variant"], f"{milliseconds(best) / fused:.2f}"] if best else [""] * 3
        rows.append(cells)
    # Columns that nothing was measured for are left out.
    present = [at for at in range(len(heads)) if any(row[at] for row in rows)]
    lines = [" | ".join(row[at] for at in present) for row in [heads, *rows]]
    lines = [f"| {line} |" for line in lines]
    return "\n".join([lines[0], "|---" * len(present) + "|", *lines[1:]])


def fastest_ways(path):
    """Microseconds of the fastest way of each kind to each convolution, by kernel and first node, of the fused program."""
    found = {}
    for record in records(path):
        ways = (record.get("ways") or []) if record["variant"] == "fused" else []
        for way in ways:
            if not way["kernel"].startswith("Conv") or way["is_right"] is False:
                continue
            kind = way["way"].removeprefix("sums ").split()[0]
            times = found.setdefault((way["kernel"], way["nodes"][0]), {})
            times[kind] = min(times.get(kind, float("inf")), way["seconds"] * 1e6)
    return found


def ways(directory, precision):
    """Rows of the fastest tile of ours, plan of cuBLASLt and engine of cuDNN for each convolution of ResNet-50, in microseconds."""
    kinds, batches = ["ours", "cuBLASLt", "cuDNN"], [1, 8, 32]
    lines = ["| convolution | " + " | ".join(f"batch {batch}: {kind}" for batch in batches for kind in kinds) + " |", "|---" * 10 + "|"]
    # In the order of the program: of convolutions that are alike, which one was timed is by chance.
    tables = [fastest_ways(directory / f"resnet-{precision}-b{batch}.jsonl").items() for batch in batches]
    for alike in zip(*tables):
        kernel, node = alike[0][0]
        cells = [f"{times[kind]:.2f}" if kind in times else "" for _, times in alike for kind in kinds]
        lines.append(f"| {kernel} `{node}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def write_table(directory):
    page = directory / "README.md"
    tables = [(MARK, table(directory))]
    tables += [(WAYS_MARK.format(precision), ways(directory, precision)) for precision in ("f16", "tf32")]
    for mark, made in tables:
        before, _, after = page.read_text().split(mark)
        page.write_text(f"{before}{mark}\n\n{made}\n\n{mark}{after}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=pathlib.Path, default="target/release/eutectic")
    parser.add_argument("--into", type=pathlib.Path, required=True)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        write_table(options.into)
    else:
        options.program = options.program.resolve()
        measure(options)


if __name__ == "__main__":
    main()
