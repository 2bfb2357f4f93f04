"""Builds every model of a zoo for several GPUs and precisions, and writes a line of JSON for each build.

    python benches/tensorrt_zoo.py EUTECTIC ZOO [--only NAME ..] [--out benches/results/tensorrt-zoo.jsonl]

EUTECTIC is the program, built with TensorRT; ZOO a folder of exported models (`papers/models/export.py`). Each model is optimized and
brought to each precision once; INT8 is calibrated on one seeded input, which is enough for counts of kernels and says nothing of
accuracy. No GPU is needed. Rows that the output already holds are not measured again.

A row holds the model's hash, the compute capability, the precision, the kernels by kind, the engine's size, and the time of the
library beside that of lowering and worker. With FP32 for SM 8.6 it also holds what NVIDIA's own parser makes of the optimized model,
and of the original.
"""

import argparse
import collections
import hashlib
import json
import pathlib
import subprocess
import tempfile

TARGETS = (86, 80, 89, 120)
PRECISIONS = {"fp32": None, "fp16": "--fp16", "int8": "--int8"}
IMAGE, TOKENS = "input:1x3x224x224", "input_ids:1x128,attention_mask:1x128"


def run(program, *arguments):
    """Exit code, decoded JSON (`None` without), the first line of standard error."""
    try:
        done = subprocess.run([program, "--json", *map(str, arguments)], capture_output=True, text=True, timeout=1800)
    except subprocess.TimeoutExpired:
        return 4, None, "it took longer than 1800 s"
    said = json.loads(done.stdout) if done.stdout.strip() else None
    return done.returncode, said, (done.stderr.strip().splitlines() or [""])[0]


def shapes_of(path):
    if not path.stem.endswith("dyn"):
        return []
    image = any(path.stem.startswith(name) for name in ("resnet", "mobilenet", "vit", "swin", "convnext"))
    return ["--shapes", IMAGE if image else TOKENS]


def build(program, model, target, shapes, *more):
    code, said, problem = run(program, "lower", model, "--as-is", "--sm", target, *shapes, *more)
    if code not in (0, 1):
        return {"ok": False, "problem": problem}
    kinds = collections.Counter(kernel["kind"] for kernel in said["kernels"])
    row = {"ok": True, "kernels": len(said["kernels"]), "kinds": dict(kinds), "engine_bytes": said["engine_bytes"]}
    row |= {"seconds": round(said["seconds"], 3), "library_seconds": round(said["library_seconds"], 3)}
    if "parser" in said:
        row["parser"] = said["parser"]
    return row


def rows_of(program, path, folder, known):
    name, shapes = path.stem, shapes_of(path)
    wanted = [(p, t) for p in PRECISIONS for t in TARGETS if (name, p, t) not in known]
    if not wanted:
        return
    head = {"model": name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    optimized = folder / "optimized.onnx"
    code, _, problem = run(program, "optimize", path, "-o", optimized, "--target", "tensorrt", *shapes)
    if code:
        yield head | {"ok": False, "problem": problem}
        return
    prepared = {"fp32": optimized}
    for precision, target in wanted:
        row = head | {"precision": precision, "sm": target}
        if precision not in prepared:
            prepared[precision] = folder / f"{precision}.onnx"
            flag, into = PRECISIONS[precision], prepared[precision]
            code, _, problem = run(program, "quantize", optimized, flag, "-o", into, *shapes)
            if code:
                prepared[precision] = None
        if prepared[precision] is None:
            yield row | {"ok": False, "problem": problem}
            continue
        cross = ["--crossCheck"] if (precision, target) == ("fp32", 86) else []
        row |= build(program, prepared[precision], target, shapes, *cross)
        if cross:
            original = build(program, path, target, shapes, *cross)
            row["original"] = {"kernels": original.get("kernels"), "parser": original.get("parser", original)}
        yield row


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("program", type=pathlib.Path)
    arguments.add_argument("zoo", type=pathlib.Path)
    arguments.add_argument("--only", nargs="+", default=[""], help="names, or how they begin")
    default = pathlib.Path(__file__).parent / "results" / "tensorrt-zoo.jsonl"
    arguments.add_argument("--out", type=pathlib.Path, default=default)
    given = arguments.parse_args()
    before = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out.exists() else []
    known = {(row["model"], row.get("precision"), row.get("sm")) for row in before}
    for path in sorted(given.zoo.glob("*.onnx")):
        if not path.stem.startswith(tuple(given.only)):
            continue
        with tempfile.TemporaryDirectory() as folder:
            for row in rows_of(given.program, path, pathlib.Path(folder), known):
                line = json.dumps(row)
                print(line, flush=True)
                with given.out.open("a") as rows:
                    rows.write(line + "\n")


if __name__ == "__main__":
    main()
