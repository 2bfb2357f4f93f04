"""Optimize one model with one family of rules left out, or with one family alone, and time what comes of it on the CPU.

usage: produce.py EUTECTIC MODEL PROCESS OUT

The set `without` leaves a family out of everything there is, the set `only` uses it alone; the family `fusions` is all fused
operators, `nothing` and `everything` are what the words say. The first process runs each result beside the original, gives
counts, and leaves the graphs in target/ablation; the others give times. A graph that is that of `nothing` again is not timed. All
programs of a set are timed in turns in one process by `benches/latency.rs`, which `cargo build --release --benches` builds; the
program of `nothing` takes part twice, the second time as `nothing-again`.
"""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
KEPT = REPOSITORY / "target" / "ablation"
RELEASE = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "release"
# Rules of `taso` count when somebody asks for them, and are not in the library of a usual run.
FAMILIES = sorted(path.stem for path in (REPOSITORY / "passes" / "rules").glob("*.rules") if path.stem != "taso")
N_WARM, N_SAMPLES = 2, 12


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


def graphs(program, model, which):
    """Optimizes each graph of a set, or takes it from an earlier process: the records, and the folder with the graphs."""
    folder = KEPT / Path(model).stem / which
    state = [[file, os.stat(file).st_size, os.stat(file).st_mtime] for file in (model, program)]
    kept = folder / "records.json"
    if kept.exists() and (found := json.loads(kept.read_text()))["state"] == state:
        return found["records"], folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    records = []
    for family in ["nothing", *FAMILIES, "fusions", "everything"]:
        # The program that times takes files by how they end.
        target = folder / f"{family}.onnx"
        records.append({"set": which, "family": family} | optimized(program, model, which, family, target))
        if family != "nothing" and records[-1].get("graph") in (None, records[0].get("graph")):
            target.unlink(missing_ok=True)
    os.link(folder / "nothing.onnx", folder / "nothing-again.onnx")
    kept.write_text(json.dumps({"state": state, "records": records}))
    return records, folder


def main():
    program, model, process, out = sys.argv[1:]
    for which in ("without", "only"):
        records, folder = graphs(program, model, which)
        if process != "0":
            samples = latencies(sorted(folder.glob("*.onnx")), process)
            records = [{"set": which, "family": path.stem, "seconds": samples[path]} for path in sorted(samples)]
        with open(out, "a", encoding="utf-8") as lines:
            for record in records:
                lines.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
