"""Latency at batch 1 beside ONNX Runtime's, in turns on the same cores; a JSON line for each sample.

    cargo build --release --bins --benches
    .venv/bin/python benches/against_onnxruntime.py MODEL.onnx > benches/results/latency.jsonl

Ours runs the model that `eutectic optimize --target cpu` makes of it; ONNX Runtime optimizes the original itself, with all
of its graph optimizations. Both have as many threads as there are cores.
"""

import glob
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy
import onnxruntime

N_WARM, N_RUNS = 5, 60
RELEASE = os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release")


def inputs_of(session):
    generator = numpy.random.default_rng(0)
    for port in session.get_inputs():
        shape = [dim if isinstance(dim, int) else 1 for dim in port.shape]
        if port.type == "tensor(float)":
            yield port.name, generator.uniform(-1, 1, shape).astype(numpy.float32)
        else:
            yield port.name, numpy.ones(shape, {"tensor(int64)": numpy.int64, "tensor(bool)": bool}[port.type])


def main(model):
    n_threads = os.cpu_count()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feeds = dict(inputs_of(session))
    newest = max(glob.glob(os.path.join(RELEASE, "deps", "latency-*[!.d]")), key=os.path.getmtime)
    with tempfile.TemporaryDirectory() as directory:
        ours = os.path.join(directory, "ours.onnx")
        optimize = [os.path.join(RELEASE, "eutectic"), "optimize", model, "-o", ours, "--target", "cpu", "-q"]
        subprocess.run(optimize, check=True)
        runner = subprocess.Popen([newest, ours], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert runner.stdout.readline() == "ready\n"

        def eutectic():
            runner.stdin.write("0\n")
            runner.stdin.flush()
            return float(runner.stdout.readline())

        def reference():
            start = time.perf_counter()
            session.run(None, feeds)
            return time.perf_counter() - start

        samples = {"eutectic": [], "onnxruntime": []}
        for run in range(-N_WARM, N_RUNS):
            for name, once in (("eutectic", eutectic), ("onnxruntime", reference)):
                # Threads spin for a while when their work is done; they do not take the cores from whoever runs next.
                time.sleep(0.02)
                seconds = once()
                if run >= 0:
                    samples[name].append(seconds)
        runner.stdin.close()
        runner.wait()
    with open("/proc/cpuinfo") as lines:
        cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")
    for name, seconds in samples.items():
        line = {
            "model": os.path.basename(model),
            "runtime": name if name == "eutectic" else f"onnxruntime {onnxruntime.__version__}",
            "cpu": cpu,
            "threads": n_threads,
            "seconds": [round(value, 6) for value in seconds],
        }
        print(json.dumps(line))
        summary = f"{name}: least {min(seconds) * 1e3:.1f} ms, median {statistics.median(seconds) * 1e3:.1f} ms"
        print(summary, file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1])
