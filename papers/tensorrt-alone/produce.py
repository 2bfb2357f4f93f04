"""Build one model for TensorRT in three ways and count the kernels of each engine.

usage: produce.py EUTECTIC MODEL OUT

Exports with symbolic dims are built for one profile, whose likeliest shapes are those of the static exports. The ways are `parser` (NVIDIA's own ONNX parser), `as-is` (our lowering of the model as it is) and `optimized` (after our
rewriting). A way that is refused leaves no record of kernels, but its reason.
"""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path


def profile(model):
    """Smallest, likeliest and largest shapes, where the export has symbolic dims: batches of 1 to 8, and sequences of 16 to 256
    where they vary too."""
    name = Path(model).stem
    if not name.endswith("dyn"):
        return []
    if name.startswith("resnet"):
        shapes = [f"input:{batch}x3x224x224" for batch in (1, 1, 8)]
    else:
        tokens = [(1, 16), (1, 128), (8, 256)] if "ts17" in name else [(1, 128), (1, 128), (8, 128)]
        shapes = [f"input_ids:{batch}x{n},attention_mask:{batch}x{n}" for batch, n in tokens]
    return [part for pair in zip(("--minShapes", "--optShapes", "--maxShapes"), shapes) for part in pair]


def lower(program, model, *options):
    command = [program, "lower", model, "--target", "tensorrt", "--json", "-q", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    # 1 says that the parser's network has another interface.
    if done.returncode not in (0, 1) or not done.stdout.startswith("{"):
        reason = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr[-300:])
        if "B0501" in reason:
            # Without the library nothing is refused; nothing was asked.
            sys.exit(reason)
        return {"refused": reason}
    return json.loads(done.stdout)


def record(way, found):
    if "refused" in found:
        return {"way": way, "refused": found["refused"]}
    kinds = Counter(kernel["kind"] for kernel in found["kernels"])
    return {
        "way": way,
        "kernels": len(found["kernels"]),
        "layers": found["layers"],
        "kinds": dict(kinds),
        "engine_bytes": found["engine_bytes"],
        "build_seconds": found["seconds"],
    }


def main():
    program, model, out = sys.argv[1:]
    # papers/models/export.py names a file by network and exporter.
    network, exporter = Path(model).stem.rsplit("_", 1)
    about = {"network": network, "exporter": exporter.removesuffix("bn")}
    shapes = profile(model)
    as_is = lower(program, model, "--as-is", "--crossCheck", *shapes)
    parser = as_is.get("parser", {"refused": "not reached"})
    records = [
        {"way": "parser"} | parser,
        record("as-is", as_is),
        record("optimized", lower(program, model, *shapes)),
    ]
    with open(out, "a", encoding="utf-8") as file:
        for one in records:
            file.write(json.dumps(about | one) + "\n")


if __name__ == "__main__":
    main()
