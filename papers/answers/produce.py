"""Run an optimizer over models, and say whether ONNX Runtime still gives the same answers.

usage: produce.py EUTECTIC SUITE ZOO OPTIMIZER TESTS OUT [EVERY]

TESTS is `given` (ONNX's operator tests; their inputs stay inputs of the graph), `constant` (the same; inputs become weights, so
that everything can be folded) or `models` (exports of ZOO, as papers/models/export.py writes them). SUITE is a folder of tests as
`tests/python/suite.py` writes them, of which every EVERY-th counts. One record each. Optimizers are libraries that may end their
process, so each test runs in a worker that is replaced when it dies, and each model in a worker of its own. What became of a
model is kept in target/answers, so that a run that was interrupted goes on where it stopped.
"""

import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

KEPT = Path(__file__).resolve().parents[2] / "target" / "answers"
MEMORY = 16 << 30
LEVELS = {
    "ort-basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "ort-extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "ort-all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
TARGETS = {"eutectic": "portable", "eutectic-onnx": "onnx", "eutectic-ort": "ort"}
OFF = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
RANDOM = {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli", "Dropout"}
# An export of each network, and what PyTorch's newer exporter writes without its own optimizer where that is small. ViT is not
# among them: torchvision begins with zeros as weights of its last layer, so its answer says nothing of what comes before.
MODELS = [
    "squeezenet1_1_ts17bn", "squeezenet1_1_dy18raw", "mobilenet_v3_large_ts17bn", "mobilenet_v3_large_dy18raw",
    "efficientnet_b0_ts17bn", "efficientnet_b0_dy18raw", "resnet50_ts17bn", "resnet50_dy18raw", "resnext50_ts17bn", "vgg19_ts17",
    "densenet121_ts17bn", "densenet121_dy18raw", "inception_v3_ts17bn", "deeplabv3_resnet50_ts17bn", "nasnet_a_ts17bn",
    "convnext_tiny_ts17", "convnext_tiny_dy18raw", "swin_t_ts17", "bert_base_ts17", "gpt2_ts17", "t5_encoder_ts17",
    "t5_encoder_dy18raw", "llama_small_ts17", "llama_small_dy18raw", "nasrnn_ts17", "nasrnn_dy18",
]


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
    source, result = Path(folder) / "in.onnx", Path(folder) / "out.onnx"
    onnx.save(model, source)
    # Certification is what this program adds, so it is left out.
    command = [program, "optimize", source, "-o", result, "--target", TARGETS[name], "--certify", "none", "-q"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(next((line for line in done.stderr.splitlines() if "error" in line), str(done.returncode)))
    return onnx.load(result)


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


def seeded_inputs(model, name):
    """Inputs of an exported model: images of normal numbers, tokens of the first thousand words, masks of ones."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    feeds = {}
    for declared in model.graph.input:
        shape = [dim.dim_value for dim in declared.type.tensor_type.shape.dim]
        if declared.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
            feeds[declared.name] = random.standard_normal(shape).astype(np.float32)
        elif "mask" in declared.name:
            feeds[declared.name] = np.ones(shape, np.int64)
        else:
            feeds[declared.name] = random.integers(0, 1000, shape)
    return feeds


def same(found, expected, half, other):
    """`same`, `rounding`, `type` or `values`, and the greatest difference relative to the largest magnitude of its output.

    A difference is rounding up to `other`, in half precision up to `half`.
    """
    how, change = "same", 0.0
    for a, b in zip(found, expected, strict=True):
        if not isinstance(a, np.ndarray) or not isinstance(b, np.ndarray):
            if str(a) != str(b):
                return "values", None
            continue
        if a.dtype != b.dtype or a.shape != b.shape:
            return "type", None
        if a.dtype == object or a.dtype.kind in "USO":
            if not np.array_equal(a, b):
                return "values", None
            continue
        if a.tobytes() == b.tobytes() or np.array_equal(a, b, equal_nan=a.dtype.kind in "fc"):
            continue
        if a.dtype.kind not in "fc":
            return "values", None
        x, y = a.astype(np.float64), b.astype(np.float64)
        with np.errstate(invalid="ignore"):
            equal = (x == y) | (np.isnan(x) & np.isnan(y))
            distance = np.abs(np.where(equal, 0, x - y))
        if not np.isfinite(distance).all():
            return "values", None
        finite = np.abs(y[np.isfinite(y)])
        largest = max(float(finite.max()) if finite.size else 0.0, 1e-30)
        change = max(change, float(distance.max()) / largest)
        if float(distance.max()) > (half if a.dtype == np.float16 else other) * largest:
            return "values", change
        how = "rounding"
    return how, change


def answer_of(name, program, model, feeds, scratch):
    """The outputs of the optimized `model`; or an outcome and why there are none."""
    try:
        optimized = optimize(name, program, model, scratch)
    except Exception as error:
        return ("refused", f"{type(error).__name__}: {str(error)[:160]}"), None
    try:
        ready = session(optimized or model, OFF if optimized is not None else LEVELS[name])
        interface = [port.name for port in ready.get_outputs()]
        if interface != [port.name for port in model.graph.output]:
            return ("invalid", f"outputs are {interface}"), None
        kept = {port.name for port in ready.get_inputs()}
        if not kept <= set(feeds):
            return ("invalid", f"inputs are {sorted(kept)}"), None
        return None, ready.run(None, {key: value for key, value in feeds.items() if key in kept})
    except Exception as error:
        return ("invalid", str(error)[:200]), None


OUTCOMES = {"same": "same", "rounding": "same up to rounding", "type": "another type", "values": "another value"}


def judge_test(name, program, inputs, folder):
    """The record of one operator test."""
    model = onnx.load(folder / "model.onnx")
    data = folder / "test_data_set_0"
    values = tensors(data, "input")
    not_comparable = {"outcome": "not comparable"}
    if values is None or len(values) != len(model.graph.input):
        return not_comparable | {"why": "an input is no tensor"}
    if any(node.op_type in RANDOM for node in model.graph.node):
        return not_comparable | {"why": "random"}
    feeds = {declared.name: value for declared, value in zip(model.graph.input, values)}
    if inputs == "constant":
        if not values:
            return not_comparable | {"why": "no inputs"}
        model, feeds = with_constant_inputs(model, values), {}
    try:
        expected = session(model, OFF).run(None, feeds)
    except Exception as error:
        return not_comparable | {"why": f"the original does not run: {str(error)[:120]}"}
    with tempfile.TemporaryDirectory() as scratch:
        failed, found = answer_of(name, program, model, feeds, scratch)
    if failed:
        return {"outcome": failed[0], "why": failed[1]}
    how, change = same(found, expected, 1e-3, 1e-5)
    if how == "values" and is_standard(found, tensors(data, "output")):
        why = "the original gives another value than the test, the result the test's"
        return {"outcome": "value of the standard", "why": why}
    return {"outcome": OUTCOMES[how], "change": change}


def judge_model(name, program, path):
    """The record of one exported model."""
    started = time.process_time()
    model = onnx.load(path)
    feeds = seeded_inputs(model, path.stem)
    kept = KEPT / f"{path.stem}.npz"
    if kept.exists():
        with np.load(kept) as found:
            expected = [found[f"{at}"] for at in range(len(found.files))]
    else:
        expected = session(model, OFF).run(None, feeds)
        np.savez(kept, **{str(at): one for at, one in enumerate(expected)})
    finite = [bool(np.isfinite(one).all()) for one in expected]
    with tempfile.TemporaryDirectory() as scratch:
        failed, found = answer_of(name, program, model, feeds, scratch)
    about = {"processor_seconds": round(time.process_time() - started, 2)}
    if failed:
        return {"outcome": failed[0], "why": failed[1]} | about
    how, change = same(found, expected, 1e-2, 1e-4)
    record = {"outcome": OUTCOMES[how], "change": change}
    if not all(finite):
        record["why"] = "an output of the original is not finite"
    return record | about


def is_standard(found, stated):
    """True when every output is what the test itself states, within ONNX's own tolerance."""
    if stated is None or len(stated) != len(found):
        return False
    with np.errstate(invalid="ignore"):
        close = [np.allclose(a.astype(float), b.astype(float), 1e-3, 1e-7, equal_nan=True) for a, b in zip(found, stated)]
    return all(close)


def work(name, program, tests, connection):
    """Judges tests as they come until there are no more."""
    # What libraries print is not read.
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while (path := connection.recv()) is not None:
        path = Path(path)
        connection.send(judge_model(name, program, path) if tests == "models" else judge_test(name, program, tests, path))


def processor_seconds(pid):
    """What a process has used so far; a machine that is busy otherwise does not count against it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(int(fields[at]) for at in (11, 12, 13, 14)) / os.sysconf("SC_CLK_TCK")


class Worker:
    def __init__(self, *arguments):
        self.connection, other = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=work, args=(*arguments, other), daemon=True)
        self.process.start()
        other.close()

    def judge(self, path, seconds):
        """The record, and whether the worker can go on."""
        started, deadline = processor_seconds(self.process.pid), time.monotonic() + 10 * seconds
        self.connection.send(str(path))
        try:
            while not self.connection.poll(0.2):
                if not self.process.is_alive():
                    raise EOFError
                if processor_seconds(self.process.pid) - started > seconds or time.monotonic() > deadline:
                    self.process.kill()
                    return {"outcome": "not done", "why": f"not done after {seconds} s"}, False
            return self.connection.recv(), True
        except (EOFError, OSError):
            self.process.join(1)
            return {"outcome": "crashed", "why": f"the process ended with {self.process.exitcode}"}, False

    def end(self):
        self.process.kill()
        self.process.join()


def of_models(arguments, zoo):
    """A record for each exported model; those of an earlier, interrupted run are taken over."""
    KEPT.mkdir(parents=True, exist_ok=True)
    name, program, _ = arguments
    for model in MODELS:
        path = Path(zoo) / f"{model}.onnx"
        state = [[file, os.stat(file).st_size, os.stat(file).st_mtime] for file in (str(path), program)]
        kept = KEPT / f"{model}-{name}.json"
        if kept.exists() and (found := json.loads(kept.read_text()))["state"] == state:
            yield {"model": model} | found["record"]
            continue
        worker = Worker(*arguments)
        record, _ = worker.judge(path, 600)
        worker.end()
        kept.write_text(json.dumps({"state": state, "record": record}))
        yield {"model": model} | record


def of_tests(arguments, suite, every):
    """A record for each operator test that counts."""
    tests = sorted(path.parent for path in Path(suite).glob("*/model.onnx"))
    if not tests:
        sys.exit(f"error: no tests in {suite}: `python tests/python/suite.py target/onnx-suite` writes them")
    worker = Worker(*arguments)
    for test in tests[::every]:
        record, goes_on = worker.judge(test, 60)
        if not goes_on:
            worker = Worker(*arguments)
        yield {"test": test.name} | record


def main():
    program, suite, zoo, name, tests, out, *every = sys.argv[1:]
    arguments = (name, program, tests)
    records = of_models(arguments, zoo) if tests == "models" else of_tests(arguments, suite, int(every[0]) if every else 1)
    with open(out, "a", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record) + "\n")
            file.flush()


if __name__ == "__main__":
    main()
