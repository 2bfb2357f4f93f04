"""Builds ONNX's node tests by our lowering and by NVIDIA's parser, a line of JSON for each case.

    python benches/tensorrt_nodes.py EUTECTIC SUITE NAME.. [--out benches/results/tensorrt-recurrent.jsonl]

EUTECTIC is the program, built with TensorRT; SUITE the folder of the node tests, each NAME part of the names of the cases to build.
A row holds the kernels of ours by kind and, of the parser, how many it makes of the same file and what its interface differs in, or
why it refuses.
"""

import argparse
import collections
import json
import pathlib
import subprocess


def row(program, case):
    arguments = [program, "--json", "lower", "--as-is", case / "model.onnx", "--crossCheck"]
    done = subprocess.run(arguments, capture_output=True, text=True)
    if not done.stdout:
        return {"case": case.name, "problem": done.stderr.splitlines()[0]}
    said = json.loads(done.stdout)
    kinds = dict(collections.Counter(kernel["kind"] for kernel in said["kernels"]))
    return {"case": case.name, "kernels": len(said["kernels"]), "kinds": kinds, "parser": said["parser"]}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("program", type=pathlib.Path)
    arguments.add_argument("suite", type=pathlib.Path)
    arguments.add_argument("names", nargs="+")
    default = pathlib.Path(__file__).parent / "results" / "tensorrt-recurrent.jsonl"
    arguments.add_argument("--out", type=pathlib.Path, default=default)
    given = arguments.parse_args()
    cases = [case for case in sorted(given.suite.iterdir()) if any(name in case.name for name in given.names)]
    with given.out.open("w") as rows:
        for case in cases:
            rows.write(json.dumps(row(given.program, case)) + "\n")


if __name__ == "__main__":
    main()
