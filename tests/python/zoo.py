"""Judges Eutectic on exported models: ``python tests/python/zoo.py EUTECTIC ZOO [--only NAME ..] [--out ROWS.jsonl]``.

EUTECTIC is the program, built with TensorRT; ZOO a folder that ``papers/models/export.py`` wrote. Run it in the repository's
root, where ``.venv`` holds ONNX Runtime and NVIDIA's library. For each model it

- writes the model again without passes, and
- optimizes it to standard operators with each engine,

and lets ``judge.py`` compare each result with the original (the checker's full check, ONNX Runtime's outputs); then it
lowers the model for SM 8.6 and compares interface and number of kernels with what NVIDIA's own parser makes of the same
optimized model. Prints a line of JSON for each model. Exit code 1 if any model misses what the project promises.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

TOLERANCE = 1e-4
"""Largest difference from the original's outputs, relative to the largest magnitude of each output."""

DYNAMIC = {"resnet50": "input:2x3x224x224"}
"""Shapes for models with symbolic dims, by architecture; the others read token ids."""

TOKENS = "input_ids:2x128,attention_mask:2x128"


def run(program, *arguments):
    """Exit code, decoded JSON (``None`` without), standard error."""
    done = subprocess.run([program, "--json", *map(str, arguments)], capture_output=True, text=True, timeout=1800)
    return done.returncode, json.loads(done.stdout) if done.stdout.strip() else None, done.stderr


class Judge:
    """``judge.py`` as a child process that is asked pair by pair."""

    def __init__(self):
        script = pathlib.Path(__file__).with_name("judge.py")
        self.child = subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def compare(self, before, after):
        self.child.stdin.write(f"{before}\t{after}\n")
        self.child.stdin.flush()
        verdict = json.loads(self.child.stdout.readline())
        del verdict["after"]
        worst = verdict.get("worst")
        verdict["ok"] = verdict["checker"] == "ok" and verdict.get("interface") is True and worst <= TOLERANCE
        return verdict


def judge_model(program, judge, path, folder):
    shapes = []
    if path.stem.endswith("dyn"):
        shapes = ["--shapes", DYNAMIC.get(path.stem.rsplit("_", 1)[0], TOKENS)]
    row = {"model": path.stem}
    again = folder / "again.onnx"
    code, _, problem = run(program, "convert", path, again)
    row["again"] = {"ok": False, "problem": problem} if code else judge.compare(path, again)
    for engine in ("saturate", "greedy"):
        out = folder / f"{engine}.onnx"
        code, said, problem = run(program, "optimize", path, "-o", out, "--target", "onnx", "--engine", engine, *shapes)
        if code:
            row[engine] = {"ok": False, "problem": problem}
            continue
        counts = {"before": said["before"]["nodes"], "after": said["after"]["nodes"]}
        row[engine] = {**counts, "certified": said["certificate"]["worst"], **judge.compare(path, out)}
    code, said, problem = run(program, "lower", path, "--sm", "86", "--crossCheck", *shapes)
    if code not in (0, 1):
        row["lower"] = {"ok": False, "problem": problem}
        return row
    kinds = {}
    for kernel in said["kernels"]:
        kinds[kernel["kind"]] = kinds.get(kernel["kind"], 0) + 1
    parser = said["parser"]
    agrees = parser.get("differences") == [] and len(said["kernels"]) <= parser["kernels"]
    row["lower"] = {"ok": agrees, "kernels": len(said["kernels"]), "kinds": kinds, "parser": parser}
    return row


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("program", type=pathlib.Path)
    arguments.add_argument("zoo", type=pathlib.Path)
    arguments.add_argument("--only", nargs="+", default=[""], help="names, or how they begin")
    arguments.add_argument("--out", type=pathlib.Path, help="append the rows to this file too")
    given = arguments.parse_args()
    judge, failed = Judge(), []
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(given.zoo.glob("*.onnx")):
            if not path.stem.startswith(tuple(given.only)):
                continue
            row = judge_model(given.program, judge, path, pathlib.Path(folder))
            if not all(row[part]["ok"] for part in ("again", "saturate", "greedy", "lower")):
                failed.append(path.stem)
            line = json.dumps(row)
            print(line, flush=True)
            if given.out:
                with given.out.open("a") as rows:
                    rows.write(line + "\n")
    print(f"missed: {', '.join(failed)}" if failed else "all as promised", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
