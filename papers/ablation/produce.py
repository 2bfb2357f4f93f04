"""Optimize one model with one family of rules left out, or with one family alone, and time what comes of it on the CPU.

usage: produce.py EUTECTIC MODEL OUT

The set `without` leaves a family out of everything there is, the set `only` uses it alone; the family `fusions` is all fused
operators, `nothing` and `everything` are what the words say. A graph that is that of `nothing` again is not timed again. All
programs of a set are timed in turns in one process by `benches/latency.rs`, which `cargo build --release --benches` builds; the
program of `nothing` takes part twice, the second time as `nothing-again`.
"""

import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
RELEASE = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "release"
# Rules of `taso` count when somebody asks for them, and are not in the library of a usual run.
FAMILIES = sorted(path.stem for path in (REPOSITORY / "passes" / "rules").glob("*.rules") if path.stem != "taso")
N_WARM, N_SAMPLES = 3, 31


def selection(which, family):
    """Values of `--rules` and `--fusions`."""
    if (which, family) in (("without", "nothing"), ("only", "everything")):
        return "all", "all"
    if family in ("nothing", "everything"):
        return "none", "none"
    if which == "without":
        kept = ",".join(one for one in FAMILIES if one != family)
        return (kept, "none" if family == "fusions" else "all")
    return ("none", "all") if family == "fusions" else (family, "none")


def optimized(program, model, which, family, target):
    rules, fusions = selection(which, family)
    # Without a limit of time the result does not depend on the machine. A result that differs from the original ends here.
    command = [program, "optimize", model, "-o", target, "--json", "-q", "--target", "cpu", "--cost", "roofline:cpu2"]
    command += ["--seconds", "0", "--certify", "f32", "--rules", rules, "--fusions", fusions]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        lines = (done.stderr + done.stdout).splitlines()
        return {"failure": next((line for line in lines if "error" in line), f"exit code {done.returncode}")}
    found = json.loads(done.stdout)
    with open(target, "rb") as file:
        graph = hashlib.file_digest(file, "sha256").hexdigest()
    return {"nodes": found["after"]["nodes"], "predicted": found["after"]["predicted_seconds"], "graph": graph}


def latencies(files):
    """Seconds of each run of each file, in turns of random order; one thread."""
    newest = max(RELEASE.glob("deps/latency-*"), key=lambda path: (os.access(path, os.X_OK), path.stat().st_mtime))
    threads = os.environ | {"RAYON_NUM_THREADS": "1"}
    with subprocess.Popen([newest, *files], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=threads) as runner:
        if runner.stdout.readline() != "ready\n":
            sys.exit(f"error: {newest} does not answer")
        samples, order = [[] for _ in files], random.Random(0)
        for round_at in range(N_WARM + N_SAMPLES):
            for at in order.sample(range(len(files)), len(files)):
                runner.stdin.write(f"{at}\n")
                runner.stdin.flush()
                seconds = float(runner.stdout.readline())
                if round_at >= N_WARM:
                    samples[at].append(seconds)
        runner.stdin.close()
    return samples


def main():
    program, model, out = sys.argv[1:]
    records = []
    for which in ("without", "only"):
        with tempfile.TemporaryDirectory() as folder:
            of_set, files = [], []
            for family in ["nothing", *FAMILIES, "fusions", "everything"]:
                # The program for latency takes files by how they end.
                target = Path(folder) / f"{family}.onnx"
                record = {"set": which, "family": family} | optimized(program, model, which, family, target)
                of_set.append(record)
                is_new = "graph" in record and (family == "nothing" or record["graph"] != of_set[0].get("graph"))
                if is_new:
                    files.append(record | {"file": target})
                else:
                    target.unlink(missing_ok=True)
            again = Path(folder) / "nothing-again.onnx"
            os.link(Path(folder) / "nothing.onnx", again)
            timed = files + [{"family": "nothing-again", "file": again}]
            for one, seconds in zip(timed, latencies([one["file"] for one in timed]), strict=True):
                of_set.append({"set": which, "family": one["family"], "seconds": seconds})
            records += of_set
    with open(out, "a", encoding="utf-8") as lines:
        for record in records:
            lines.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
