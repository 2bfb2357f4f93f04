"""Run an optimizer over ONNX's operator tests, and say whether ONNX Runtime still gives the same answers.

usage: produce.py EUTECTIC SUITE OPTIMIZER INPUTS OUT [EVERY]

SUITE is a folder of tests as `tests/python/suite.py` writes them. INPUTS is `given` (inputs of a test stay inputs of the graph) or `constant` (they become weights, so that everything can be
folded). Every EVERY-th test counts, one record each. Optimizers are libraries that may end their process, so each test runs in a worker that is
replaced when it dies.
"""

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

SECONDS = 60
LEVELS = {
    "ort-basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "ort-extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "ort-all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


def optimize(name, program, model, folder):
    """The optimized model; None where the optimizer works inside of ONNX Runtime."""
    if name in LEVELS:
        return None
    if name == "onnxsim":
        import onnxsim

        return onnxsim.simplify(model)[0]
    if name == "onnxslim":
        import onnxslim

        return onnxslim.slim(model)
    if name == "onnxoptimizer":
        import onnxoptimizer

        return onnxoptimizer.optimize(model)
    if name == "onnxscript":
        from onnxscript import optimizer

        return optimizer.optimize(model)
    source, target = Path(folder) / "in.onnx", Path(folder) / "out.onnx"
    onnx.save(model, source)
    # What runs here must be standard operators; certification is what this program adds, so it is left out.
    command = [program, "optimize", source, "-o", target, "--target", "onnx", "--certify", "none", "-q"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    if done.returncode:
        raise RuntimeError(next((line for line in done.stderr.splitlines() if "error" in line), str(done.returncode)))
    return onnx.load(target)


def session(model, level):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def tensors(folder, prefix):
    """The tensors of a test's data set; None when one of them is no tensor."""
    found = []
    at = 0
    while (path := folder / f"{prefix}_{at}.pb").exists():
        try:
            found.append(numpy_helper.to_array(onnx.load_tensor(str(path))))
        except Exception:
            return None
        at += 1
    return found


def with_constant_inputs(model, values):
    """`model` with its inputs as weights."""
    constant = onnx.ModelProto()
    constant.CopyFrom(model)
    # Before version 4 of the format a weight had to be an input as well.
    constant.ir_version = max(model.ir_version, 8)
    for declared, value in zip(model.graph.input, values):
        constant.graph.initializer.append(numpy_helper.from_array(value, declared.name))
    del constant.graph.input[:]
    return constant


def same(found, expected):
    """`same`, `rounding` (within 1e-5 of the largest magnitude), `type`, or `values`."""
    worst = "same"
    for a, b in zip(found, expected, strict=True):
        if not isinstance(a, np.ndarray) or not isinstance(b, np.ndarray):
            if str(a) != str(b):
                return "values"
            continue
        if a.dtype != b.dtype or a.shape != b.shape:
            return "type"
        if a.dtype == object or a.dtype.kind in "USO":
            if not np.array_equal(a, b):
                return "values"
            continue
        if a.tobytes() == b.tobytes() or np.array_equal(a, b, equal_nan=a.dtype.kind in "fc"):
            continue
        if a.dtype.kind not in "fc":
            return "values"
        x, y = a.astype(np.float64), b.astype(np.float64)
        with np.errstate(invalid="ignore"):
            equal = (x == y) | (np.isnan(x) & np.isnan(y))
            distance = np.abs(np.where(equal, 0, x - y))
        finite = np.abs(y[np.isfinite(y)])
        bound = (1e-3 if a.dtype == np.float16 else 1e-5) * max(float(finite.max()) if finite.size else 0.0, 1e-30)
        if not bool((distance <= bound).all()):
            return "values"
        worst = "rounding"
    return worst


def judge(name, program, inputs, folder):
    """The outcome of one test, and why."""
    model = onnx.load(folder / "model.onnx")
    data = folder / "test_data_set_0"
    values = tensors(data, "input")
    if values is None or len(values) != len(model.graph.input):
        return "not comparable", "an input is no tensor"
    if any(node.op_type in RANDOM for node in model.graph.node):
        return "not comparable", "random"
    off = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    feeds = {declared.name: value for declared, value in zip(model.graph.input, values)}
    if inputs == "constant":
        if not values:
            return "not comparable", "no inputs"
        model, feeds = with_constant_inputs(model, values), {}
    try:
        expected = session(model, off).run(None, feeds)
    except Exception as error:
        return "not comparable", f"the original does not run: {str(error)[:120]}"
    with tempfile.TemporaryDirectory() as scratch:
        try:
            optimized = optimize(name, program, model, scratch)
        except Exception as error:
            return "refused", f"{type(error).__name__}: {str(error)[:160]}"
    try:
        ready = session(optimized or model, off if optimized is not None else LEVELS[name])
        interface = [port.name for port in ready.get_outputs()]
        if interface != [port.name for port in model.graph.output]:
            return "invalid", f"outputs are {interface}"
        kept = {port.name for port in ready.get_inputs()}
        if not kept <= set(feeds):
            return "invalid", f"inputs are {sorted(kept)}"
        found = ready.run(None, {key: value for key, value in feeds.items() if key in kept})
    except Exception as error:
        return "invalid", str(error)[:200]
    how = same(found, expected)
    if how == "values" and is_standard(found, tensors(data, "output")):
        return "value of the standard", "the original gives another value than the test, the result the test's"
    return {"same": "same", "rounding": "same up to rounding", "type": "another type", "values": "another value"}[how], how


def is_standard(found, stated):
    """True when every output is what the test itself states, within ONNX's own tolerance."""
    if stated is None or len(stated) != len(found):
        return False
    with np.errstate(invalid="ignore"):
        close = [np.allclose(a.astype(float), b.astype(float), 1e-3, 1e-7, equal_nan=True) for a, b in zip(found, stated)]
    return all(close)


RANDOM = {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli", "Dropout"}


def work(name, program, inputs, connection):
    """Judges tests as they come until there are no more."""
    # What libraries print is not read.
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    while (folder := connection.recv()) is not None:
        connection.send(judge(name, program, inputs, Path(folder)))


class Worker:
    def __init__(self, arguments):
        self.connection, other = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=work, args=(*arguments, other), daemon=True)
        self.process.start()
        other.close()

    def judge(self, folder):
        """The outcome, or how the worker ended."""
        self.connection.send(str(folder))
        try:
            if self.connection.poll(SECONDS):
                return self.connection.recv()
        except (EOFError, ConnectionError):
            pass
        ended = self.process.exitcode if not self.process.is_alive() else None
        self.process.join(1)
        ended = self.process.exitcode if ended is None else ended
        self.process.kill()
        return "crashed", f"the process ended with {ended}" if ended is not None else f"not done after {SECONDS} s"


def main():
    program, suite, name, inputs, out, *every = sys.argv[1:]
    tests = sorted(path.parent for path in Path(suite).glob("*/model.onnx"))
    if not tests:
        sys.exit(f"error: no tests in {suite}: `python tests/python/suite.py target/onnx-suite` writes them")
    worker = Worker((name, program, inputs))
    with open(out, "a", encoding="utf-8") as file:
        for test in tests[:: int(every[0]) if every else 1]:
            outcome, why = worker.judge(test)
            if outcome == "crashed":
                worker = Worker((name, program, inputs))
            record = {"test": test.name, "outcome": outcome}
            if outcome not in ("same", "same up to rounding"):
                record["why"] = why
            file.write(json.dumps(record) + "\n")
            file.flush()


if __name__ == "__main__":
    main()
