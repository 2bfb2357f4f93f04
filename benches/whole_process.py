"""Time and memory of whole processes that read, optimize and write a model; a JSON line for each model.

    cargo build --release
    python3 benches/whole_process.py MODEL.onnx... > benches/results/whole_process.jsonl

The certificate is off: it runs both models, which takes as long as they do. Copying the file, in turns with it, shows
what the file system alone takes. On a machine that does other work too, the processor's seconds (`user` and `system`) tell
more than the elapsed ones.
"""

import json
import os
import statistics
import sys
import tempfile
import time

N_RUNS = 20
EUTECTIC = os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release", "eutectic")


def once(arguments, out):
    """Runs a program that writes `out`, which does not exist before."""
    if os.path.exists(out):
        os.unlink(out)
    start = time.perf_counter()
    process = os.posix_spawnp(arguments[0], arguments, os.environ)
    _, status, usage = os.wait4(process, 0)
    elapsed = time.perf_counter() - start
    assert status == 0, arguments
    return {"elapsed": elapsed, "user": usage.ru_utime, "system": usage.ru_stime, "peak": usage.ru_maxrss * 1024}


def main(models):
    with open("/proc/cpuinfo") as lines:
        cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")
    for model in models:
        size = os.path.getsize(model)
        with tempfile.TemporaryDirectory(dir=os.path.dirname(os.path.abspath(model))) as directory:
            out = os.path.join(directory, "out.onnx")
            programs = {
                "optimize": [EUTECTIC, "optimize", model, "-o", out, "--target", "onnx", "--certify", "none", "-q"],
                "cp": ["cp", model, out],
            }
            samples = {name: [] for name in programs}
            for _ in range(N_RUNS):
                for name, arguments in programs.items():
                    samples[name].append(once(arguments, out))
        for name, runs in samples.items():
            line = {"model": os.path.basename(model), "bytes": size, "program": name, "cpu": cpu, "cores": os.cpu_count()}
            for what in ("elapsed", "user", "system"):
                line[what] = [round(run[what], 4) for run in runs]
            line["peak"] = max(run["peak"] for run in runs)
            print(json.dumps(line))
            elapsed = [run["elapsed"] for run in runs]
            busy = [run["user"] + run["system"] for run in runs]
            print(
                f"{line['model']} {name}: elapsed least {min(elapsed):.3f} s, median {statistics.median(elapsed):.3f} s;"
                f" processor least {min(busy):.3f} s, median {statistics.median(busy):.3f} s;"
                f" peak {line['peak'] / size:.2f} of the file",
                file=sys.stderr,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
