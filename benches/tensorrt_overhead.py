"""Times our lowering beside the build of the vendor's library, a line of JSON for each model.

    python benches/tensorrt_overhead.py EUTECTIC MODEL.. [--runs 5] [--out benches/results/tensorrt-overhead.jsonl]

EUTECTIC is the program, a release build with TensorRT. A row holds every sample in seconds: of the lowering alone, of the library's
build call, and of both together with the worker, its start, and what is sent to it and back. `overhead` is the least time of the
lowering over the least of the build.
"""

import argparse
import hashlib
import json
import pathlib
import subprocess


def sample(program, model):
    done = subprocess.run([program, "--json", "lower", model, "--sm", "86"], capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    return {name: round(said[name], 5) for name in ("lowering_seconds", "library_seconds", "seconds")}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("program")
    arguments.add_argument("models", nargs="+", type=pathlib.Path)
    arguments.add_argument("--runs", type=int, default=5)
    default = pathlib.Path(__file__).parent / "results" / "tensorrt-overhead.jsonl"
    arguments.add_argument("--out", type=pathlib.Path, default=default)
    given = arguments.parse_args()
    for model in given.models:
        samples = [sample(given.program, model) for _ in range(given.runs)]
        row = {"model": model.stem, "sha256": hashlib.sha256(model.read_bytes()).hexdigest(), "sm": 86, "precision": "fp32"}
        row |= {name: [one[name] for one in samples] for name in samples[0]}
        row["overhead"] = round(min(row["lowering_seconds"]) / min(row["library_seconds"]), 4)
        line = json.dumps(row)
        print(line, flush=True)
        with given.out.open("a") as rows:
            rows.write(line + "\n")


if __name__ == "__main__":
    main()
