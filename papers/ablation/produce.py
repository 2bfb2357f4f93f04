"""Optimize one model with one family of rules left out, or with one family alone, and time what comes of it on the CPU.

usage: produce.py EUTECTIC MODEL PROCESS OUT

The set `without` leaves a family out of everything there is, the set `only` uses it alone; the family `fusions` is all fused
operators, `nothing` and `everything` are what the words say. The first process runs each result beside the original and gives
counts; the others give times. A graph that is that of `nothing` again is not timed. All programs of a set are timed in turns in
one process by `benches/latency.rs`, which `cargo build --release --benches` builds; the program of `nothing` takes part twice,
the second time as `nothing-again`.
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
N_WARM, N_SAMPLES = 3, 15


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


def optimized(program, model, which, family, certificate, target):
    rules, fusions = selection(which, family)
    # Without a limit of time the result does not depend on the machine. A result that differs from the original ends here.
    command = [program, "optimize", model, "-o", target, "--json", "-q", "--target", "cpu", "--cost", "roofline:cpu2"]
    command += ["--seconds", "0", "--certify", certificate, "--rules", rules, "--fusions", fusions]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        lines = (done.stderr + done.stdout).splitlines()
        return {"failure": next((line for line in lines if "error" in line), f"exit code {done.returncode}")}
    found = json.loads(done.stdout)
    with open(target, "rb") as file:
        graph = hashlib.file_digest(file, "sha256").hexdigest()
    return {"nodes": found["after"]["nodes"], "predicted": found["after"]["predicted_seconds"], "graph": graph}


def processor_seconds(pid):
    """What all threads of a process have used so far."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) * 1e-9


def latencies(files, seed):
    """Processor seconds of each run of each file, in turns of random order; one thread.

    On a machine that others use too, elapsed time tells how long the others kept it. Where a program lies in memory matters
    by some per cent, so each process loads the files in another order.
    """
    newest = max(RELEASE.glob("deps/latency-*"), key=lambda path: (os.access(path, os.X_OK), path.stat().st_mtime))
    threads = os.environ | {"RAYON_NUM_THREADS": "1"}
    random.Random(seed).shuffle(files)
    with subprocess.Popen([newest, *files], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=threads) as runner:
        if runner.stdout.readline() != "ready\n":
            sys.exit(f"error: {newest} does not answer")
        samples, order = {path: [] for path in files}, random.Random(seed)
        for round_at in range(N_WARM + N_SAMPLES):
            for at in order.sample(range(len(files)), len(files)):
                before = processor_seconds(runner.pid)
                runner.stdin.write(f"{at}\n")
                runner.stdin.flush()
                runner.stdout.readline()
                if round_at >= N_WARM:
                    samples[files[at]].append(processor_seconds(runner.pid) - before)
        runner.stdin.close()
    return samples


def counts(program, model, which, folder):
    """A record of each graph of a set, and whether it gives the answer of the original."""
    for family in ["nothing", *FAMILIES, "fusions", "everything"]:
        target = folder / f"{family}.onnx"
        yield {"set": which, "family": family} | optimized(program, model, which, family, "f32", target)
        target.unlink(missing_ok=True)


def times(program, model, which, folder, seed):
    """A record of the times of each graph of a set that is not that of `nothing`."""
    base = None
    for family in ["nothing", *FAMILIES, "fusions", "everything"]:
        # The program that times takes files by how they end.
        target = folder / f"{family}.onnx"
        graph = optimized(program, model, which, family, "none", target).get("graph")
        base = base or graph
        if family != "nothing" and graph == base:
            target.unlink()
    os.link(folder / "nothing.onnx", folder / "nothing-again.onnx")
    for path, seconds in sorted(latencies(sorted(folder.glob("*.onnx")), seed).items()):
        yield {"set": which, "family": path.stem, "seconds": seconds}


def main():
    program, model, process, out = sys.argv[1:]
    for which in ("without", "only"):
        with tempfile.TemporaryDirectory() as name, open(out, "a", encoding="utf-8") as lines:
            folder = Path(name)
            gate = process == "0"
            found = counts(program, model, which, folder) if gate else times(program, model, which, folder, process)
            for record in found:
                lines.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
