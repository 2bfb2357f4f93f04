"""Cases of old and new operator sets for `ir/onnx/tests/opsets.rs`, and the judge of what it writes.

    opsets.py old DIR     models of operator sets 1 to 9: those of the `onnx` wheel, and single calls
    opsets.py newest DIR  the operator tests of the `onnx` wheel, all inputs but the first as initializers
    opsets.py judge       judges files

The first two write models to DIR and one line a case to standard output: name; path; inputs; outputs, separated by tabs.
Inputs and outputs are values separated by spaces, each `element:dims:hex`. The judge reads such lines, of which the outputs
are those expected, with the path of the original as one more column, and answers each with the name, a tab, and `ok` or
what is wrong; or `unjudged` and why, where ONNX Runtime has no answer or does not meet the original either.

Expected outputs come from the wheel, from NumPy by the text of the specification, or from ONNX Runtime on the original.
"""

import pathlib
import sys
import warnings

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

warnings.simplefilter("ignore")
onnxruntime.set_default_logger_severity(4)

ELEMENTS = {
    np.dtype(name): text
    for name, text in [
        ("float32", "float"), ("float64", "double"), ("float16", "float16"), ("bfloat16", "bfloat16"), ("bool", "bool"),
        ("int8", "int8"), ("int16", "int16"), ("int32", "int32"), ("int64", "int64"),
        ("uint8", "uint8"), ("uint16", "uint16"), ("uint32", "uint32"), ("uint64", "uint64"),
    ]
}  # fmt: skip
DTYPES = {text: dtype for dtype, text in ELEMENTS.items()}
MOST_ELEMENTS = 20_000


class Skip(Exception):
    pass


def text(value):
    if not isinstance(value, (np.ndarray, np.generic)):
        raise Skip("not a tensor")
    value = np.asarray(value)
    if value.dtype not in ELEMENTS:
        raise Skip(f"elements of {value.dtype}")
    return f"{ELEMENTS[value.dtype]}:{','.join(map(str, value.shape))}:{np.ascontiguousarray(value).tobytes().hex()}"


def value_of(word):
    element, dims, digits = word.split(":")
    shape = [int(dim) for dim in dims.split(",") if dim]
    return np.frombuffer(bytes.fromhex(digits), DTYPES[element]).reshape(shape)


def emit(directory, name, model, inputs, outputs):
    try:
        columns = [" ".join(map(text, inputs)), " ".join(map(text, outputs))]
    except Skip:
        return
    path = directory / f"{name}.onnx"
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    print("\t".join([name, str(path), *columns]), flush=True)


def run(model, inputs):
    """The outputs of ONNX Runtime without its own optimizations."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    return session.run(None, dict(zip(names, inputs)))


# --- Models of the wheel -----------------------------------------------------------------------------------------------


def read_tensor(path):
    return numpy_helper.to_array(onnx.TensorProto.FromString(path.read_bytes()))


def suites(directory):
    root = pathlib.Path(onnx.__file__).parent / "backend/test/data"
    for suite in ("simple", "pytorch-converted", "pytorch-operator"):
        for folder in sorted((root / suite).iterdir()):
            data = folder / "test_data_set_0"
            try:
                read = [
                    [read_tensor(data / f"{kind}_{at}.pb") for at in range(len(list(data.glob(f"{kind}_*.pb"))))]
                    for kind in ("input", "output")
                ]
            except Exception:
                # Values that are no tensors.
                continue
            emit(directory, f"{suite}_{folder.name}", (folder / "model.onnx").read_bytes(), *read)


# --- Single calls of old operator sets ---------------------------------------------------------------------------------

random = np.random.default_rng(0)


def real(*shape):
    return random.standard_normal(shape).astype(np.float32)


def positive(*shape):
    return (random.random(shape) + 0.5).astype(np.float32)


def truth(*shape):
    return random.integers(0, 2, shape).astype(bool)


def at_axis(b, rank, axis):
    """`b` with axes of size 1 behind, so that its first axis is `axis` of `rank`."""
    return b.reshape(b.shape + (1,) * (rank - axis - b.ndim))


def call(op, opset, inputs, n_outputs=1, expected=None, constant=False, **attrs):
    """A model of one call; its expected outputs are those of ONNX Runtime where none are given."""
    return op, opset, inputs, n_outputs, expected, constant, attrs


def old_calls():
    a = real(2, 3, 4, 5)
    binary = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}
    for op, f in binary.items():
        for opset in (1, 6):
            extra = {"consumed_inputs": [0, 0]} if opset == 1 else {}
            for b, axis in [(real(2, 3, 4, 5), None), (positive(5), None), (positive(4, 5), None), (positive(1), None),
                            (positive(3, 4), 1), (positive(2), 0), (positive(3), 1), (positive(2, 3), 0)]:
                more = {} if axis is None else {"axis": axis}
                more |= {} if b.shape == a.shape else {"broadcast": 1}
                wide = b if axis is None else at_axis(b, 4, axis)
                for constant in (False, True):
                    yield call(op, opset, [a, b], expected=[f(a, wide)], constant=constant, **extra, **more)
    for op, f in {"Greater": np.greater, "Less": np.less}.items():
        yield call(op, 1, [a, (b := real(3))], expected=[f(a, at_axis(b, 4, 1))], broadcast=1, axis=1)
        yield call(op, 1, [a, a[::-1].copy()], expected=[f(a, a[::-1])])
    t, u = truth(2, 3, 4), truth(3)
    for op, f in {"And": np.logical_and, "Or": np.logical_or, "Xor": np.logical_xor}.items():
        yield call(op, 1, [t, u], expected=[f(t, u.reshape(3, 1))], broadcast=1, axis=1)
        yield call(op, 1, [t, t[::-1].copy()], expected=[f(t, t[::-1])])
    i, j = random.integers(0, 3, (2, 3, 4)).astype(np.int32), random.integers(0, 3, 3).astype(np.int32)
    yield call("Equal", 1, [i, j], expected=[i == j.reshape(3, 1)], broadcast=1, axis=1)
    p = positive(2, 3, 4)
    yield call("Pow", 1, [p, (b := real(3))], expected=[p ** b.reshape(3, 1)], broadcast=1, axis=1)
    yield call("Pow", 1, [p, (b := real(2, 3, 4))], expected=[p**b])
    for op, f in {
        "Abs": np.abs, "Ceil": np.ceil, "Exp": np.exp, "Floor": np.floor, "Neg": np.negative,
        "Reciprocal": np.reciprocal, "Relu": lambda x: np.maximum(x, 0), "Tanh": np.tanh,
        "Sigmoid": lambda x: 1 / (1 + np.exp(-x)), "Elu": lambda x: np.where(x < 0, np.exp(x) - 1, x),
        "LeakyRelu": lambda x: np.where(x < 0, np.float32(0.01) * x, x),
        "HardSigmoid": lambda x: np.clip(0.2 * x + 0.5, 0, 1).astype(np.float32),
    }.items():  # fmt: skip
        yield call(op, 1, [a], expected=[f(a).astype(np.float32)], consumed_inputs=[0])
        yield call(op, 6, [a], expected=[f(a).astype(np.float32)])
    yield call("Selu", 1, [a], expected=[(1.0507 * np.where(a <= 0, 1.6732 * (np.exp(a) - 1), a)).astype(np.float32)])
    yield call("Log", 1, [p], expected=[np.log(p)], consumed_inputs=[0])
    yield call("Sqrt", 1, [p], expected=[np.sqrt(p)], consumed_inputs=[0])
    yield call("Clip", 1, [a], expected=[np.maximum(a, np.float32(-0.5))], min=-0.5)
    yield call("Clip", 6, [a], expected=[np.clip(a, -0.5, 0.5)], min=-0.5, max=0.5)
    three = [real(2, 3), real(2, 3), real(2, 3)]
    for op, f in {"Sum": sum, "Max": lambda x: np.max(x, 0), "Min": lambda x: np.min(x, 0), "Mean": lambda x: sum(x) / 3}.items():
        yield call(op, 1, three, expected=[f(three).astype(np.float32)], consumed_inputs=[0, 0, 0])
        yield call(op, 6, three, expected=[f(three).astype(np.float32)])
    for to, dtype in [("INT32", np.int32), ("DOUBLE", np.float64), ("BOOL", np.bool_), ("FLOAT16", np.float16)]:
        yield call("Cast", 1, [a], expected=[a.astype(dtype)], to=to)
    yield call("Cast", 6, [a], expected=[a.astype(np.int64)], to=7)
    yield call("Concat", 1, [real(2, 3, 4), real(2, 1, 4)], expected="axis 1")
    yield call("Concat", 4, [real(2, 3, 4), real(2, 3, 1)], expected="axis 2", axis=2)
    for slope in (real(3), real(1)):
        wide = slope.reshape(-1, 1, 1)
        for opset, extra in ((1, {"consumed_inputs": [0, 0]}), (6, {})):
            yield call("PRelu", opset, [a, slope], expected=[np.where(a < 0, wide * a, a)], **extra)
    m, n = real(3, 4), real(4, 5)
    for opset in (1, 6):
        yield call("Gemm", opset, [m, n, (c := real(3, 5))], expected=[m @ n + c])
        yield call("Gemm", opset, [m, n, (c := real(5))], expected=[m @ n + c], broadcast=1)
        yield call("Gemm", opset, [m, n.T.copy(), (c := real(1))], expected=[2 * (m @ n) + 3 * c], broadcast=1,
                   transB=1, alpha=2.0, beta=3.0)
    yield call("Reshape", 1, [a], expected=[a.reshape(2, 12, 5)], shape=[0, -1, 5])
    yield call("Reshape", 5, [a, np.array([0, -1, 5])], expected=[a.reshape(2, 12, 5)], constant=True)
    yield call("Split", 1, [a], n_outputs=2, expected=np.split(a, [1], 1), axis=1, split=[1, 2])
    yield call("Split", 1, [a, np.array([1, 2], np.float32)], n_outputs=2, expected=np.split(a, [1], 1), axis=1, constant=True)
    yield call("Split", 2, [a], n_outputs=2, expected=np.split(a, 2, 0))
    yield call("Tile", 1, [real(2, 3), np.array(2, np.float32), np.array(1, np.float32)], expected="tiled", constant=True)
    yield call("Tile", 6, [(x := real(2, 3)), np.array([2, 3])], expected=[np.tile(x, (2, 3))], constant=True)
    widths = [(0, 0), (0, 0), (1, 2), (0, 3)]
    flat = [0, 0, 1, 0, 0, 0, 2, 3]
    yield call("Pad", 1, [a], expected=[np.pad(a, widths, constant_values=1.5)], paddings=flat, value=1.5)
    for mode in ("constant", "edge", "reflect"):
        yield call("Pad", 2, [a], expected=[np.pad(a, widths, mode=mode)], pads=flat, mode=mode)
    twice = a.repeat(2, 2).repeat(3, 3)
    yield call("Upsample", 1, [a], expected=[twice], height_scale=2.0, width_scale=3.0, mode="nearest")
    yield call("Upsample", 7, [a], expected=[twice], scales=[1.0, 1.0, 2.0, 3.0], mode="nearest")
    yield call("Upsample", 9, [a, np.array([1, 1, 2, 3], np.float32)], expected=[twice], mode="nearest", constant=True)
    yield call("Upsample", 9, [a, np.array([1, 1, 2, 2], np.float32)], mode="linear", constant=True)
    norm = [real(3), real(3), real(3), positive(3)]
    scale, bias, mean, var = (x.reshape(3, 1, 1) for x in norm)
    y = (scale * (a - mean) / np.sqrt(var + 1e-3) + bias).astype(np.float32)
    yield call("BatchNormalization", 1, [a, *norm], expected=[y], epsilon=1e-3, is_test=1, consumed_inputs=[0, 0, 0, 1, 1])
    yield call("BatchNormalization", 6, [a, *norm], expected=[y], epsilon=1e-3, is_test=1)
    yield call("BatchNormalization", 7, [a, *norm], expected=[y], epsilon=1e-3)
    each = [real(3, 4, 5), real(3, 4, 5), real(3, 4, 5), positive(3, 4, 5)]
    y = (each[0] * (a - each[2]) / np.sqrt(each[3] + 1e-5) + each[1]).astype(np.float32)
    yield call("BatchNormalization", 7, [a, *each], expected=[y], spatial=0)
    yield call("BatchNormalization", 7, [a, *each], expected=[y], spatial=0, constant=True)
    yield call("Dropout", 1, [a], expected=[a], is_test=1, ratio=0.3, consumed_inputs=[0])
    yield call("Dropout", 6, [a], expected=[a], is_test=1)
    yield call("Dropout", 7, [a], expected=[a])
    yield call("Dropout", 10, [a], expected=[a])
    yield call("InstanceNormalization", 1, [a, norm[0], norm[1]], expected="instances", epsilon=1e-3, consumed_inputs=[0, 0, 0])
    yield call("GlobalLpPool", 1, [a], expected=[(np.abs(a) ** 3).sum((2, 3), keepdims=True) ** (1 / 3)], p=3.0)
    yield call("LpPool", 1, [real(1, 1, 4, 4)], expected="norms", p=2.0, kernel_shape=[2, 2], strides=[2, 2])
    yield call("AveragePool", 1, [a], kernel_shape=[2, 2], pads=[1, 1, 1, 1])
    yield call("AveragePool", 7, [a], kernel_shape=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1)
    yield call("MaxPool", 1, [a], kernel_shape=[2, 2], strides=[2, 2])
    yield call("TopK", 1, [a], n_outputs=2, k=2)
    for op in ("Softmax", "LogSoftmax", "Hardmax"):
        for axis in (0, 1, 2, 3):
            yield call(op, 1, [a], axis=axis)
        yield call(op, 7, [a])
        yield call(op, 11, [a], axis=-2)
    yield call("Slice", 1, [a], starts=[1, -3], ends=[3, 100], axes=[1, 3])
    yield call("Slice", 10, [a, np.array([3]), np.array([0]), np.array([3]), np.array([-2])], constant=True)
    for op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceL1", "ReduceLogSumExp", "ReduceProd", "ReduceSumSquare"):
        yield call(op, 1, [a], axes=[1, 2], keepdims=0)
        yield call(op, 11, [a], axes=[-1])
        yield call(op, 13, [a]) if op == "ReduceSum" else call(op, 13, [a], axes=[0])
    yield call("ReduceLogSum", 13, [p], axes=[1])
    yield call("ReduceLogSumExp", 13, [i], expected=[np.log(np.exp(i).sum(1, keepdims=True)).astype(np.int32)], axes=[1])
    yield call("Squeeze", 1, [real(2, 1, 3, 1)], axes=[1, 3])
    yield call("Unsqueeze", 1, [a], axes=[0, 3])
    yield call("Shape", 1, [a])
    yield call("Flatten", 1, [a], axis=2)
    yield call("ArgMax", 1, [a], axis=1)
    yield call("Gather", 1, [a, np.array([1, 0])], axis=2)
    yield call("DepthToSpace", 1, [real(1, 8, 2, 3)], blocksize=2)
    yield call("SpaceToDepth", 1, [real(1, 2, 4, 6)], blocksize=2)
    yield call("Transpose", 1, [a], perm=[3, 1, 0, 2])
    yield call("MatMul", 1, [real(2, 3, 4), real(2, 4, 5)])
    yield call("Conv", 1, [a, real(4, 3, 2, 2), real(4)], pads=[1, 0, 1, 0], strides=[2, 1])
    yield call("ConvTranspose", 1, [a, real(3, 4, 2, 2)], strides=[2, 2])
    yield call("LRN", 1, [a], size=3)
    yield call("Scatter", 9, [real(3, 3), np.array([[0, 2, 1]]), real(1, 3)], axis=0)
    yield call("Resize", 10, [a, np.array([1, 1, 2, 2], np.float32)], mode="nearest", constant=True)
    yield call("Resize", 10, [a, np.array([1, 1, 0.6, 2.3], np.float32)], mode="linear", constant=True)
    yield call("Resize", 11, [a, np.zeros(0, np.float32), np.array([1, 1, 2, 2], np.float32)], mode="linear", constant=True)
    yield call("GroupNormalization", 18, [real(2, 4, 3), real(2), real(2)], expected="groups", num_groups=2)
    yield call("GridSample", 16, [real(1, 2, 4, 4), real(1, 3, 3, 2)], mode="bicubic")
    yield call("Erf", 9, [a])
    yield call("Pow", 7, [p, real(4)])
    yield call("OneHot", 9, [np.array([0, 2]), np.array(3), np.array([0, 1], np.float32)], constant=True)
    x = real(5, 2, 3)
    w, r, b = real(1, 12, 3), real(1, 12, 3), real(1, 24)
    for op, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4)):
        k = [x, w[:, : 3 * gates], r[:, : 3 * gates], b[:, : 6 * gates]]
        k = [np.ascontiguousarray(v) for v in k]
        yield call(op, 1, k, n_outputs=2, expected="as version 7", hidden_size=3, output_sequence=1)
        yield call(op, 7, k, n_outputs=2, hidden_size=3)


def numpy_of(name, inputs, attrs):
    """Expectations that are too long for a line."""
    x = inputs[0]
    if name.startswith("axis"):
        return [np.concatenate(inputs, int(name[-1]))]
    if name == "tiled":
        return [np.concatenate([x, x], 1)]
    if name == "norms":
        b, c, h, w = x.shape
        return [np.sqrt((x.reshape(b, c, h // 2, 2, w // 2, 2) ** 2).sum((3, 5)))]
    if name == "instances":
        mean, var = x.mean((2, 3), keepdims=True), x.var((2, 3), keepdims=True)
        scale, bias = (v.reshape(-1, 1, 1) for v in inputs[1:])
        return [scale * (x - mean) / np.sqrt(var + 1e-3) + bias]
    if name == "groups":
        parts = x.reshape(2, 2, -1)
        y = (parts - parts.mean(2, keepdims=True)) / np.sqrt(parts.var(2, keepdims=True) + 1e-5)
        return [(y * inputs[1].reshape(1, 2, 1) + inputs[2].reshape(1, 2, 1)).reshape(x.shape)]
    raise AssertionError(name)


def model_of(op, opset, inputs, n_outputs, constant, attrs, outputs=None):
    names = [f"x{at}" for at in range(len(inputs))]
    n_given = 1 if constant else len(inputs)
    declare = lambda name, v: helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
    results = [f"y{at}" for at in range(n_outputs)]
    declared = [declare(*pair) for pair in zip(results, outputs)] if outputs else [
        onnx.ValueInfoProto(name=name) for name in results]
    graph = helper.make_graph(
        [helper.make_node(op, names, results, **attrs)], "call",
        [declare(*pair) for pair in zip(names[:n_given], inputs)], declared,
        [numpy_helper.from_array(v, name) for name, v in zip(names[n_given:], inputs[n_given:])],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), n_given


def old(directory):
    suites(directory)
    for at, (op, opset, inputs, n_outputs, expected, constant, attrs) in enumerate(old_calls()):
        model, n_given = model_of(op, opset, inputs, n_outputs, constant, attrs)
        if expected is None or expected == "as version 7":
            # Where an attribute became one or an operator is too old for ONNX Runtime, the newer form is the same call.
            kept = {name: value for name, value in attrs.items() if name != "output_sequence"}
            newer = model_of(op, max(opset, 7), inputs, n_outputs, constant, kept)[0]
            expected = run(newer, inputs[:n_given])
        elif isinstance(expected, str):
            expected = numpy_of(expected, inputs, attrs)
        expected = [v if v.dtype == np.float64 and attrs.get("to") == "DOUBLE" else
                    v.astype(np.float32) if v.dtype == np.float64 else v for v in map(np.asarray, expected)]
        model, n_given = model_of(op, opset, inputs, n_outputs, constant, attrs, expected)
        # The checker refuses what a later release withdrew, though files have it.
        if op != "GroupNormalization":
            onnx.checker.check_model(model)
        emit(directory, f"{op}-{opset}-{at}", model, inputs[:n_given], expected)


# --- Operator tests of the wheel ---------------------------------------------------------------------------------------


def newest(directory):
    from onnx.backend.test.loader import load_node_model_tests

    for case in load_node_model_tests():
        graph = case.model.graph
        if any(node.domain for node in graph.node) or graph.initializer or len(case.data_sets) != 1:
            continue
        read = [[numpy_helper.to_array(v) if isinstance(v, onnx.TensorProto) else v for v in vs] for vs in case.data_sets[0]]
        if any(not isinstance(v, (np.ndarray, np.generic)) or np.asarray(v).size > MOST_ELEMENTS for vs in read for v in vs):
            continue
        inputs, outputs = ([np.asarray(v) for v in vs] for vs in read)
        model = onnx.ModelProto()
        model.CopyFrom(case.model)
        for given, value in zip(list(graph.input)[1:], inputs[1:]):
            model.graph.initializer.append(numpy_helper.from_array(value, given.name))
        del model.graph.input[1:]
        emit(directory, case.name, model, inputs[:1], outputs)


# --- The judge ---------------------------------------------------------------------------------------------------------


def close(found, expected):
    found = np.asarray(found)
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return False
    if found.dtype.kind in "biu":
        return bool((found == expected).all())
    wide = [v.astype(np.float64) for v in (found, expected)]
    loose = found.dtype in (np.float16, ml_dtypes.bfloat16)
    return np.allclose(*wide, rtol=1e-2 if loose else 1e-3, atol=1e-2 if loose else 1e-5, equal_nan=True)


def meets(model, inputs, expected):
    """Nothing when ONNX Runtime gives the expected outputs, else what is wrong."""
    try:
        found = run(model, inputs)
    except Exception as error:
        return f"ONNX Runtime: {error}"
    wrong = [at for at, (a, b) in enumerate(zip(found, expected)) if not close(a, b)]
    return f"differs: output {wrong[0]}" if wrong else None


# ONNX Runtime has no kernel, or NumPy no element type.
SILENT = ["NOT_IMPLEMENTED", "Could not find an implementation", "Numpy_type 256", "No corresponding Numpy type"]


def verdict(path, inputs, expected, original):
    model = onnx.load(path)
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:
        return f"checker: {error}"
    opset = next(o.version for o in model.opset_import if o.domain == "")
    if opset < 7:
        try:
            model = onnx.version_converter.convert_version(model, 8)
        except Exception as error:
            return f"unjudged: {str(error).splitlines()[0]}"
    problem = meets(model, inputs, expected)
    if problem is None:
        return "ok"
    if any(message in problem for message in SILENT):
        return f"unjudged: {problem}"
    if meets(onnx.load(original), inputs, expected) is not None:
        return "unjudged: ONNX Runtime does not meet the original either"
    return problem


def judge():
    for line in sys.stdin:
        name, path, inputs, outputs, original = line.rstrip("\n").split("\t")
        given, expected = ([value_of(word) for word in column.split(" ") if word] for column in (inputs, outputs))
        answer = verdict(path, given, expected, original).replace("\n", " ").replace("\t", " ")
        print(f"{name}\t{answer[:400]}", flush=True)


if __name__ == "__main__":
    import onnx.version_converter

    match sys.argv[1:]:
        case ["old", directory]:
            old(pathlib.Path(directory))
        case ["newest", directory]:
            newest(pathlib.Path(directory))
        case ["judge"]:
            judge()
