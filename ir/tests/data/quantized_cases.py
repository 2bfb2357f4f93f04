"""Writes random small calls of quantized operators, computed by ONNX Runtime, to `quantized_cases.tsv`.

ONNX's own cases of these operators are few. The form is that of `node_cases.tsv`; `ir/tests/node_cases.rs` runs both.
"""

import pathlib

import numpy as np
import onnxruntime
from node_cases import attribute, tensor
from onnx import TensorProto, helper

OPSET = 21
N_CONVOLUTIONS = 18
N_PRODUCTS = 10
N_DYNAMIC = 4

random = np.random.default_rng(7)


def code(array):
    return helper.np_dtype_to_tensor_dtype(array.dtype)


def line(name, op, inputs, output_types, **attrs):
    """One call as a line, its outputs computed without graph optimizations."""
    inputs = [np.asarray(value) for value in inputs]
    names = [f"i{at}" for at in range(len(inputs))], [f"o{at}" for at in range(len(output_types))]
    node = helper.make_node(op, *names, **attrs)
    given = [helper.make_tensor_value_info(n, code(v), v.shape) for n, v in zip(names[0], inputs, strict=True)]
    made = [helper.make_tensor_value_info(n, t, None) for n, t in zip(names[1], output_types, strict=True)]
    graph = helper.make_graph([node], "call", given, made)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    outputs = session.run(None, dict(zip(names[0], inputs, strict=True)))
    columns = [
        name,
        op,
        " ".join(attribute(attr) for attr in node.attribute),
        " ".join(tensor(value) for value in inputs),
        " ".join(tensor(value) for value in outputs),
    ]
    return "\t".join(columns)


def integers(dtype, *shape):
    limits = np.iinfo(dtype)
    return random.integers(limits.min, limits.max + 1, shape).astype(dtype)


def scales(low, high, *shape):
    return np.asarray(random.uniform(low, high, shape)).astype(np.float32)


def sizes(low, high, n):
    return [int(size) for size in random.integers(low, high, n)]


# ONNX Runtime has no kernel for signed times unsigned.
def pair_of_types(at):
    return [(np.uint8, np.int8), (np.int8, np.int8), (np.uint8, np.uint8)][at % 3]


def convolution(at):
    x_type, w_type = pair_of_types(at)
    n_axes, group = at % 2 + 1, at % 3 + 1
    kernel = sizes(1, 4, n_axes)
    n_filters = group * int(random.integers(1, 3))
    x = integers(x_type, 1, group * 2, *([4, 3] if n_axes == 2 else sizes(6, 10, 1)))
    w = integers(w_type, n_filters, 2, *kernel)
    attrs = {"group": group, "strides": sizes(1, 3, n_axes)}
    mode = ["NOTSET", "SAME_UPPER", "NOTSET", "SAME_LOWER", "VALID"][at % 5]
    if mode == "NOTSET":
        attrs |= {"pads": sizes(0, 3, 2 * n_axes), "dilations": [1, 1] if n_axes == 2 else sizes(1, 3, 1)}
    else:
        attrs |= {"auto_pad": mode}
    x_zero = integers(x_type)
    # One zero point for all filters is all that ONNX Runtime takes; scales may differ.
    w_zero = integers(w_type) if w_type == np.uint8 else np.zeros((), w_type)
    if at % 4 == 3:
        return line(f"conv_integer_{at}", "ConvInteger", [x, w, x_zero, w_zero], [TensorProto.INT32], **attrs)
    of_filters = [n_filters] if at % 2 else []
    inputs = [x, scales(0.005, 0.05), x_zero, w, scales(0.005, 0.05, *of_filters), np.full(of_filters, w_zero)]
    inputs += [scales(0.05, 0.5), integers(x_type)]
    if at % 3:
        inputs.append(random.integers(-5000, 5000, n_filters).astype(np.int32))
    return line(f"qlinear_conv_{at}", "QLinearConv", inputs, [code(x)], **attrs)


def product(at):
    a_type, b_type = pair_of_types(at)
    shapes = [((3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)), ((2, 3, 4), (4, 5)), ((4,), (4, 5)), ((3, 4), (4,))][at % 5]
    a, b = integers(a_type, *shapes[0]), integers(b_type, *shapes[1])
    if at % 2:
        inputs = [a, b, integers(a_type), integers(b_type)]
        return line(f"matmul_integer_{at}", "MatMulInteger", inputs, [TensorProto.INT32])
    of_columns = [5] if len(shapes[1]) == 2 else []
    inputs = [a, scales(0.005, 0.05), integers(a_type), b, scales(0.005, 0.05, *of_columns)]
    inputs += [integers(b_type, *of_columns), scales(0.05, 0.5), integers(a_type)]
    return line(f"qlinear_matmul_{at}", "QLinearMatMul", inputs, [code(a)])


def dynamic(at):
    x = random.normal([0, 5, -5, 0.1][at], [1, 0.5, 2, 10][at], (3, 4)).astype(np.float32)
    types = [TensorProto.UINT8, TensorProto.FLOAT, TensorProto.UINT8]
    return line(f"dynamic_quantize_linear_{at}", "DynamicQuantizeLinear", [x], types)


def main():
    lines = [convolution(at) for at in range(N_CONVOLUTIONS)]
    lines += [product(at) for at in range(N_PRODUCTS)] + [dynamic(at) for at in range(N_DYNAMIC)]
    pathlib.Path(__file__).with_name("quantized_cases.tsv").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
