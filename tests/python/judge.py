"""Judges pairs of ONNX models by the onnx checker and ONNX Runtime.

Reads lines ``before<TAB>after`` from standard input. For each pair prints one line of JSON: whether the checker accepts
``after`` with full shape inference, and the largest difference of each output on seeded inputs, relative to the largest
magnitude of that output in ``before``. ONNX Runtime runs both without its own optimizations.
"""

import json
import sys

import numpy
import onnx
import onnxruntime

TYPES = {"tensor(float)": numpy.float32, "tensor(int64)": numpy.int64, "tensor(int32)": numpy.int32,
         "tensor(bool)": numpy.bool_, "tensor(float16)": numpy.float16, "tensor(double)": numpy.float64}


def session(path):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 2
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def inputs_of(a_session, symbols):
    """Seeded inputs: reals normal, integers 0 or 1, each symbolic dim of size ``symbols``."""
    random = numpy.random.default_rng(0)
    feeds = {}
    for given in a_session.get_inputs():
        shape = [dim if isinstance(dim, int) else symbols for dim in given.shape]
        element = TYPES[given.type]
        if numpy.issubdtype(element, numpy.floating):
            feeds[given.name] = random.standard_normal(shape).astype(element)
        else:
            values = random.integers(0, 2, shape).astype(element)
            # Position 0 is never masked: ONNX Runtime's Attention gives zeros for a row whose every key is masked, where
            # the softmax of ONNX's own definition, and of the unfused graph, is uniform.
            values[..., 0] = 1
            feeds[given.name] = values
    return feeds


def judge(before, after):
    verdict = {"after": after}
    try:
        if not any(entry.domain == "com.microsoft" for entry in onnx.load(after, load_external_data=False).opset_import):
            onnx.checker.check_model(after, full_check=True)
        verdict["checker"] = "ok"
    except Exception as error:  # Whatever it is, it is a verdict.
        verdict["checker"] = str(error)[:2000]
    try:
        first, second = session(before), session(after)
        feeds = inputs_of(first, 2)
        names = [output.name for output in first.get_outputs()]
        verdict["interface"] = names == [output.name for output in second.get_outputs()] and [
            given.name for given in first.get_inputs()] == [given.name for given in second.get_inputs()]
        worst = 0.0
        for a, b in zip(first.run(names, feeds), second.run(names, feeds)):
            if a.shape != b.shape or a.dtype != b.dtype or numpy.isnan(a).any() != numpy.isnan(b).any():
                worst = float("inf")
            elif a.size:
                scale = max(float(numpy.abs(a).max()), 1e-30)
                worst = max(worst, float(numpy.abs(a.astype(numpy.float64) - b).max()) / scale)
        verdict["worst"] = worst
    except Exception as error:
        verdict["error"] = str(error)[:2000]
    return verdict


for line in sys.stdin:
    before, after = line.rstrip("\n").split("\t")
    print(json.dumps(judge(before, after)), flush=True)
