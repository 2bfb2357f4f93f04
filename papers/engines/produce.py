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

ENGINES = {
    "greedy": ["--engine", "greedy"],
    "tree": ["--engine", "saturate", "--extract", "tree"],
    "dag": ["--engine", "saturate", "--extract", "dag"],
    "ilp": ["--engine", "saturate", "--extract", "ilp"],
}

# One block as exporters spell it: normalisation, attention with four heads, two layers with a spelled-out GELU.
WEIGHTS = {
    "g1": "64", "h1": "64", "wq": "64,64", "wk": "64,64", "wv": "64,64", "bq": "64", "bk": "64", "bv": "64", "wo": "64,64",
    "bo": "64", "g2": "64", "h2": "64", "wu": "64,256", "bu": "256", "wd": "256,64", "bd": "64",
}
BLOCK = """
    n1_# = LayerNormalization <axis = -1> (x_#, g1_#, h1_#)
    q1_# = MatMul (n1_#, wq_#)
    q2_# = Add (bq_#, q1_#)
    q3_# = Reshape (q2_#, heads)
    q4_# = Transpose <perm = [0, 2, 1, 3]> (q3_#)
    k1_# = MatMul (n1_#, wk_#)
    k2_# = Add (bk_#, k1_#)
    k3_# = Reshape (k2_#, heads)
    k4_# = Transpose <perm = [0, 2, 3, 1]> (k3_#)
    v1_# = MatMul (n1_#, wv_#)
    v2_# = Add (bv_#, v1_#)
    v3_# = Reshape (v2_#, heads)
    v4_# = Transpose <perm = [0, 2, 1, 3]> (v3_#)
    s1_# = MatMul (q4_#, k4_#)
    s2_# = Mul (s1_#, quarter)
    s3_# = Softmax (s2_#)
    a1_# = MatMul (s3_#, v4_#)
    a2_# = Transpose <perm = [0, 2, 1, 3]> (a1_#)
    a3_# = Reshape (a2_#, flat)
    a4_# = MatMul (a3_#, wo_#)
    a5_# = Add (bo_#, a4_#)
    y_# = Add (a5_#, x_#)
    n2_# = LayerNormalization <axis = -1> (y_#, g2_#, h2_#)
    u1_# = MatMul (n2_#, wu_#)
    u2_# = Add (bu_#, u1_#)
    u3_# = Div (u2_#, root)
    u4_# = Erf (u3_#)
    u5_# = Add (u4_#, one)
    u6_# = Mul (u2_#, u5_#)
    u7_# = Mul (u6_#, half)
    d1_# = MatMul (u7_#, wd_#)
    d2_# = Add (bd_#, d1_#)
    x_@ = Add (d2_#, y_#)
"""


def decoder(n_blocks):
    """A decoder of `n_blocks` blocks in ONNX's textual syntax; every weight has a seed of its own."""
    weights, calls, seed = [], [], 0
    for at in range(n_blocks):
        for name, shape in WEIGHTS.items():
            seed += 1
            recipe = f'["location": "seed:{seed}", "low": "-0.1", "high": "0.1"]'
            weights.append(f"    float[{shape}] {name}_{at} = {recipe}")
        calls.append(BLOCK.replace("@", str(at + 1)).replace("#", str(at)))
    constants = [
        "    int64[4] heads = {1, 16, 4, 16}", "    int64[3] flat = {1, 16, 64}", "    float quarter = {0.25}",
        "    float root = {1.4142135}", "    float one = {1}", "    float half = {0.5}",
    ]
    head = '<\n    ir_version: 10,\n    opset_import: ["": 18]\n>\n'
    listed = ",\n".join(constants + weights)
    calls = "".join(calls)
    return f"{head}decoder (float[1,16,64] x_0) => (float[1,16,64] x_{n_blocks}) <\n{listed}\n>\n{{{calls}}}\n"


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
