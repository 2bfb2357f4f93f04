"""Times our lowering beside the build of the vendor's library, a line of JSON for each model.

    python benches/tensorrt_overhead.py EUTECTIC MODEL.. [--beside OTHER] [--runs 10] [--out benches/results/tensorrt-overhead.jsonl]

EUTECTIC is the program, a release build with TensorRT. A row holds every sample in seconds: of the lowering alone, of the library's
build call, of both together with the worker, its start, and what is shared with it, and of the whole process, which also reads
and rewrites the model. `overhead` is the least time of the lowering over the least of the build. With OTHER, an earlier build of the
program say, runs of both alternate, and `beside` holds the samples of that one.
"""

import argparse
import hashlib
import json
import pathlib
import subprocess
import time


def sample(program, model):
    start = time.perf_counter()
    done = subprocess.run([program, "--json", "lower", model, "--sm", "86"], capture_output=True, text=True, check=True)
    whole = time.perf_counter() - start
    said = json.loads(done.stdout)
    names = ("lowering_seconds", "library_seconds", "seconds")
    return {name: round(said[name], 5) for name in names} | {"process_seconds": round(whole, 5)}


def columns(samples):
    return {name: [one[name] for one in samples] for name in samples[0]}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("program")
    arguments.add_argument("models", nargs="+", type=pathlib.Path)
    arguments.add_argument("--beside")
    arguments.add_argument("--runs", type=int, default=10)
    default = pathlib.Path(__file__).parent / "results" / "tensorrt-overhead.jsonl"
    arguments.add_argument("--out", type=pathlib.Path, default=default)
    given = arguments.parse_args()
    programs = [program for program in (given.program, given.beside) if program]
    for model in given.models:
        samples = [[sample(program, model) for program in programs] for _ in range(given.runs)]
        row = {"model": model.stem, "sha256": hashlib.sha256(model.read_bytes()).hexdigest(), "sm": 86, "precision": "fp32"}
        row |= columns([run[0] for run in samples])
        row["overhead"] = round(min(row["lowering_seconds"]) / min(row["library_seconds"]), 4)
        if given.beside:
            row["beside"] = columns([run[1] for run in samples])
        line = json.dumps(row)
        print(line, flush=True)
        with given.out.open("a") as rows:
            rows.write(line + "\n")


if __name__ == "__main__":
    main()
