"""Builds every model of a zoo for several GPUs and precisions, and writes a line of JSON for each build.

    python benches/tensorrt_zoo.py EUTECTIC ZOO [--only NAME ..] [--out benches/results/tensorrt-zoo.jsonl]

EUTECTIC is the program, built with TensorRT; ZOO a folder of exported models (`papers/models/export.py`), of which small ones come
first. No GPU is needed. INT8 is calibrated on one seeded input, which is enough for counts of kernels and says nothing of accuracy.
Rows that the output already holds are not measured again.

A row holds the model's hash, the compute capability, the precision, the kernels by kind, the engine's size, and the time of the
library beside that of lowering and worker. For SM 8.6 it also holds how many kernels NVIDIA's own parser makes of the same model, as
optimized and brought to that precision. A row of the precision `original` is what the parser makes of the exporter's file itself.
"""

import argparse
import collections
import hashlib
import json
import pathlib
import subprocess

TARGETS = (86, 80, 89, 120)
PRECISIONS = {"fp32": [], "fp16": ["--fp16"], "int8": ["--int8"], "original": ["--by-parser"]}
IMAGE, TOKENS = "input:1x3x224x224", "input_ids:1x128,attention_mask:1x128"


def run(program, *arguments):
    """Exit code, decoded JSON (`None` without), the first error on standard error."""
    try:
        done = subprocess.run([program, "--json", *map(str, arguments)], capture_output=True, text=True, timeout=1800)
    except subprocess.TimeoutExpired:
        return 4, None, "it took longer than 1800 s"
    errors = [line for line in done.stderr.splitlines() if line.startswith("error")]
    return done.returncode, json.loads(done.stdout) if done.stdout.strip() else None, (errors or [""])[0]


def shapes_of(path):
    if not path.stem.endswith("dyn"):
        return []
    return ["--shapes", IMAGE if path.stem.startswith("resnet") else TOKENS]


def build(program, path, precision, target):
    cross = ["--crossCheck"] if target == 86 and precision != "original" else []
    flags = PRECISIONS[precision]
    code, said, problem = run(program, "lower", path, "--sm", target, *shapes_of(path), *flags, *cross)
    if code not in (0, 1):
        return {"ok": False, "problem": problem}
    kinds = collections.Counter(kernel["kind"] for kernel in said["kernels"])
    row = {"ok": True, "kernels": len(said["kernels"]), "kinds": dict(kinds), "engine_bytes": said["engine_bytes"]}
    row |= {"seconds": round(said["seconds"], 3), "library_seconds": round(said["library_seconds"], 3)}
    if "parser" in said:
        row["parser"] = said["parser"]
    return row


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("program", type=pathlib.Path)
    arguments.add_argument("zoo", type=pathlib.Path)
    arguments.add_argument("--only", nargs="+", default=[""], help="names, or how they begin")
    default = pathlib.Path(__file__).parent / "results" / "tensorrt-zoo.jsonl"
    arguments.add_argument("--out", type=pathlib.Path, default=default)
    given = arguments.parse_args()
    before = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out.exists() else []
    known = {(row["model"], row["precision"], row["sm"]) for row in before}
    models = [path for path in given.zoo.glob("*.onnx") if path.stem.startswith(tuple(given.only))]
    for path in sorted(models, key=lambda path: path.stat().st_size):
        wanted = [(p, t) for p in PRECISIONS for t in TARGETS if p != "original" or t == 86]
        wanted = [(p, t) for p, t in wanted if (path.stem, p, t) not in known]
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if wanted else ""
        for precision, target in wanted:
            row = {"model": path.stem, "sha256": digest, "precision": precision, "sm": target}
            line = json.dumps(row | build(given.program, path, precision, target))
            print(line, flush=True)
            with given.out.open("a") as rows:
                rows.write(line + "\n")


if __name__ == "__main__":
    main()
