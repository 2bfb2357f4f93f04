"""Optimize one model with one engine, and write what came of it.

usage: produce.py EUTECTIC MODEL ENGINE PROCESS OUT

MODEL is a file, or `decoder-N` for N blocks of a decoder. The first process runs the result
beside the original, and gives no time; the others give times.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENGINES = {
    "greedy": ["--engine", "greedy"],
    "tree": ["--engine", "saturate", "--extract", "tree"],
    "dag": ["--engine", "saturate", "--extract", "dag"],
    "ilp": ["--engine", "saturate", "--extract", "ilp"],
}

# Constants, and weights and calls of one block, a part each. `#` stands for the number of a block and `@` for the next one.
CONSTANTS, WEIGHTS, CALLS = (HERE.parent / "models" / "decoder_block.txt").read_text().strip().split("\n\n")


def decoder(n_blocks):
    """A decoder of `n_blocks` blocks in ONNX's textual syntax; every weight has a seed of its own."""
    weights = [line.replace("#", str(at)) for at in range(n_blocks) for line in WEIGHTS.splitlines()]
    weights = [f'{weight} = ["location": "seed:{seed}", "low": "-0.1", "high": "0.1"]' for seed, weight in enumerate(weights, 1)]
    listed = ",\n".join(CONSTANTS.splitlines() + weights)
    calls = "\n".join(CALLS.replace("@", str(at + 1)).replace("#", str(at)) for at in range(n_blocks))
    head = '<ir_version: 10, opset_import: ["": 20]>\ndecoder (float[2,16,64] x_0, float[2,1,1,16] mask) => '
    return f"{head}(float[2,16,64] x_{n_blocks}) <\n{listed}\n>\n{{\n{calls}\n}}\n"


def main():
    program, model, engine, process, out = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(model)
        record = {}
        if model.startswith("decoder-"):
            record["depth"] = int(model.removeprefix("decoder-"))
            path = Path(folder) / "decoder.onnxtxt"
            path.write_text(decoder(record["depth"]))
        gate = process == "0"
        # Without a limit of time the result does not depend on the machine.
        limits = ["--seconds", "0", "--certify", "run" if gate else "none"]
        command = [program, "optimize", str(path), "--json", "-q", *limits, *ENGINES[engine]]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode != 0:
            sys.exit(f"error: {done.stderr or done.stdout[:400]}")
    found = json.loads(done.stdout)
    found_engine, cost = found["engine"], found["engine"]["cost"] or {}
    record.update(
        nodes_before=found["before"]["nodes"],
        nodes=found["after"]["nodes"],
        predicted_before=found["before"]["predicted_seconds"],
        predicted=found["after"]["predicted_seconds"],
        enodes=found_engine["enodes"],
        rounds=found_engine["iterations"],
        stop=found_engine["stop"],
        gap=cost.get("gap"),
        fired=sum(rule["fired"] for rule in found["rules"]),
    )
    if gate:
        record["equal"] = found["certificate"]["equal"]
        record["answer"] = "same" if record["equal"] else "differs"
    else:
        record["seconds"] = found["seconds"]["optimize"]
        record["processor_seconds"] = sum(getattr(after, name) - getattr(before, name) for name in ("ru_utime", "ru_stime"))
        record["load"] = os.getloadavg()[0]
    with open(out, "a", encoding="utf-8") as lines:
        lines.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
