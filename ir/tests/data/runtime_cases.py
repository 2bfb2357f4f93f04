"""Writes random calls of operators with few cases in ONNX's own tests, as ONNX Runtime computes them, to `runtime_cases.tsv`.

The format is that of `node_cases.tsv`; `ir/tests/node_cases.rs` runs both. Calls are seeded and small. Left out is what ONNX
Runtime computes in another way than the specification says. What it does not run is computed here (deformable
convolution of other than two axes), by ONNX's reference (sampling of one axis, cubic sampling of three), or transposed
from what it does run (recurrent layers with the batch first).
"""

import itertools
import pathlib

import numpy as np
import onnx
import onnxruntime
from node_cases import attribute, tensor
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

MOST_ELEMENTS = 400
OPSET = 22
RANDOM = np.random.default_rng(26)


def reals(*shape, low=-1.0, high=1.0):
    return np.round(RANDOM.uniform(low, high, shape), 3).astype(np.float32)


def ints(*values, dtype=np.int64):
    return np.array(values, dtype)


def call(op, inputs, n_outputs, opset, attrs):
    names = [f"i{at}" if value is not None else "" for at, value in enumerate(inputs)]
    outputs = [f"o{at}" for at in range(n_outputs)]
    node = helper.make_node(op, names, outputs, **attrs)
    formal = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in zip(names, inputs)
        if value is not None
    ]
    made = [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in outputs]
    graph = helper.make_graph([node], op, formal, made)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    for value in model.graph.output:
        value.ClearField("type")
    return node, model, {name: value for name, value in zip(names, inputs) if value is not None}


def runtime(op, inputs, n_outputs, opset, attrs):
    node, model, feeds = call(op, inputs, n_outputs, opset, attrs)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return node, session.run(None, feeds)


def reference(op, inputs, n_outputs, opset, attrs):
    node, model, feeds = call(op, inputs, n_outputs, opset, attrs)
    return node, ReferenceEvaluator(model).run(None, feeds)


def case(name, op, inputs, n_outputs=1, opset=OPSET, run=runtime, **attrs):
    return line(name, op, inputs, *run(op, inputs, n_outputs, opset, attrs))


def line(name, op, inputs, node, outputs):
    columns = [
        name,
        op,
        " ".join(attribute(a) for a in node.attribute),
        " ".join(tensor(value, MOST_ELEMENTS) for value in inputs),
        " ".join(tensor(value, MOST_ELEMENTS) for value in outputs),
    ]
    return "\t".join(columns)


GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def recurrent(name, op, lens=None, states=True, bias=True, peepholes=False, layout=0, **attrs):
    steps, batch, size, hidden, gates = 3, 2, 2, 2, GATES[op]
    n = 2 if attrs.get("direction") == "bidirectional" else 1
    state = (n, batch, hidden)
    inputs = [
        reals(steps, batch, size),
        reals(n, gates * hidden, size),
        reals(n, gates * hidden, hidden),
        reals(n, 2 * gates * hidden) if bias else None,
        ints(*lens, dtype=np.int32) if lens else None,
        reals(*state) if states else None,
    ]
    if op == "LSTM":
        inputs += [reals(*state) if states else None, reals(n, 3 * hidden) if peepholes else None]
    n_outputs = 3 if op == "LSTM" else 2
    node, outputs = runtime(op, inputs, n_outputs, OPSET, attrs | {"hidden_size": hidden})
    if layout:
        node.attribute.append(helper.make_attribute("layout", 1))
        for at in (0, 5, 6)[: n_outputs]:
            inputs[at] = inputs[at].swapaxes(0, 1)
        outputs = [outputs[0].transpose(2, 0, 1, 3)] + [state.swapaxes(0, 1) for state in outputs[1:]]
    return line(name, op, inputs, node, outputs)


def recurrent_cases():
    for op in GATES:
        lower = op.lower()
        for direction in ("forward", "reverse", "bidirectional"):
            yield recurrent(f"{lower}_{direction}", op, direction=direction)
            yield recurrent(f"{lower}_{direction}_lens", op, lens=[2, 3], direction=direction)
        # ONNX Runtime does not clip the input of the last activation of LSTM; without initial states that shows nowhere.
        yield recurrent(f"{lower}_clip", op, clip=0.25, states=op != "LSTM")
        yield recurrent(f"{lower}_bare", op, bias=False, states=False)
        yield recurrent(f"{lower}_batch_first", op, lens=[3, 1], direction="bidirectional", layout=1)
    yield recurrent("gru_linear_before_reset", "GRU", linear_before_reset=1, direction="bidirectional")
    yield recurrent("lstm_peepholes", "LSTM", peepholes=True, direction="bidirectional")
    yield recurrent("lstm_input_forget", "LSTM", input_forget=1, peepholes=True)
    for name in ("Relu", "LeakyRelu", "HardSigmoid", "Elu", "Softsign", "Softplus", "Sigmoid"):
        yield recurrent(f"rnn_{name.lower()}", "RNN", activations=[name])
    # The defaults of these are not those of the operators of the same name in ONNX Runtime.
    for name in ("Affine", "ScaledTanh"):
        yield recurrent(f"rnn_{name.lower()}", "RNN", activations=[name], activation_alpha=[0.5], activation_beta=[0.75])
    yield recurrent("rnn_thresholdedrelu", "RNN", activations=["ThresholdedRelu"], activation_alpha=[0.25])
    yield recurrent(
        "lstm_parameters_in_order", "LSTM", activations=["HardSigmoid", "Tanh", "LeakyRelu"],
        activation_alpha=[0.3, 0.05], activation_beta=[0.4],
    )  # fmt: skip


def grid_sample_cases():
    for n_axes, spatial, out in [(2, (3, 4), (3, 3)), (3, (2, 3, 4), (2, 2, 2))]:
        for mode in ("nearest", "linear", "cubic"):
            if n_axes == 3 and mode == "cubic":
                continue
            for padding in ("zeros", "border", "reflection"):
                for corners in (0, 1):
                    x = reals(1, 2, *spatial)
                    grid = reals(1, *out, n_axes, low=-1.6, high=1.6)
                    yield case(
                        f"gridsample_{n_axes}d_{mode}_{padding}_{corners}", "GridSample", [x, grid],
                        mode=mode, padding_mode=padding, align_corners=corners,
                    )  # fmt: skip


    for mode in ("nearest", "linear", "cubic"):
        inputs = [reals(1, 2, 5), reals(1, 6, 1, low=-1.6, high=1.6)]
        yield case(f"gridsample_1d_{mode}", "GridSample", inputs, run=reference, mode=mode, padding_mode="reflection")
    inputs = [reals(1, 1, 2, 3, 4), reals(1, 2, 2, 2, 3, low=-1.6, high=1.6)]
    yield case("gridsample_3d_cubic", "GridSample", inputs, run=reference, mode="cubic", align_corners=1)


def sampled(plane, place):
    """Linear interpolation of `plane` at `place`, zero outside."""
    low = np.floor(place).astype(int)
    total = 0.0
    for step in itertools.product((0, 1), repeat=plane.ndim):
        at = low + step
        if np.all(at >= 0) and np.all(at < plane.shape):
            total += plane[tuple(at)] * np.prod(1 - np.abs(place - at))
    return total


def deform_conv(op, inputs, n_outputs, opset, attrs):
    node, _, _ = call(op, inputs, n_outputs, opset, attrs)
    x, w, offset, bias, mask = inputs
    kernel, out, n_axes = w.shape[2:], offset.shape[2:], x.ndim - 2
    strides, dilations = attrs.get("strides", [1] * n_axes), attrs.get("dilations", [1] * n_axes)
    pads, group, offset_group = attrs.get("pads", [0] * n_axes), attrs["group"], attrs["offset_group"]
    y = np.zeros((len(x), len(w), *out))
    for item, filter, channel in np.ndindex(len(x), len(w), w.shape[1]):
        source = filter // (len(w) // group) * w.shape[1] + channel
        of_group = source // (x.shape[1] // offset_group)
        for place in np.ndindex(*out):
            for tap, within in enumerate(np.ndindex(*kernel)):
                at = of_group * int(np.prod(kernel)) + tap
                regular = np.array(place) * strides - pads[:n_axes] + np.array(within) * dilations
                bent = regular + offset[(item, slice(at * n_axes, (at + 1) * n_axes), *place)]
                value = sampled(x[item, source], bent) * w[(filter, channel, *within)]
                y[(item, filter, *place)] += value * (1 if mask is None else mask[(item, at, *place)])
    if bias is not None:
        y += bias.reshape(-1, *[1] * n_axes)
    return node, [y.astype(np.float32)]


def deformable_cases():
    def deform(name, c, m, spatial, kernel, out, group=1, offset_group=1, bias=True, mask=True, **attrs):
        taps, n = int(np.prod(kernel)), len(spatial)
        inputs = [
            reals(1, c, *spatial),
            reals(m, c // group, *kernel),
            reals(1, offset_group * taps * n, *out, low=-1.5, high=1.5),
            reals(m) if bias else None,
            reals(1, offset_group * taps, *out) if mask else None,
        ]
        return case(name, "DeformConv", inputs, group=group, offset_group=offset_group, **attrs)

    yield deform("deformconv_plain", 2, 2, (4, 4), (2, 2), (3, 3), bias=False, mask=False)
    yield deform("deformconv_groups", 4, 2, (3, 4), (2, 2), (2, 3), group=2, offset_group=2)
    yield deform("deformconv_offset_groups", 2, 2, (3, 3), (2, 2), (2, 2), group=1, offset_group=2)
    yield deform("deformconv_1d", 2, 1, (6,), (3,), (4,), group=1, offset_group=2, run=deform_conv)
    yield deform(
        "deformconv_3d", 2, 2, (2, 3, 3), (2, 1, 2), (1, 3, 2), group=2, run=deform_conv, strides=[1, 2, 1],
        pads=[0, 1, 0, 0, 1, 0], dilations=[1, 1, 1],
    )  # fmt: skip
    yield deform(
        "deformconv_strided", 1, 2, (5, 4), (2, 3), (3, 3), strides=[2, 1], pads=[1, 0, 1, 1], dilations=[2, 1], bias=False
    )


def detection_cases():
    rois = np.array([[0, 0, 4, 3], [1.2, 0.4, 3.1, 2.9], [2, 1, 2, 1], [-1, -2, 7, 6], [3, 2, 1, 1]], np.float32)
    items = ints(0, 1, 0, 1, 0)
    for mode in ("half_pixel", "output_half_pixel"):
        for ratio in (0, 2):
            yield case(
                f"roialign_{mode}_{ratio}", "RoiAlign", [reals(2, 2, 4, 5), rois, items], opset=16, output_height=2,
                output_width=3, sampling_ratio=ratio, spatial_scale=0.75, coordinate_transformation_mode=mode,
            )  # fmt: skip
    with_items = np.concatenate([items.astype(np.float32)[:, None], rois], axis=1)
    for scale in (1.0, 0.5):
        yield case(
            f"maxroipool_{scale}", "MaxRoiPool", [reals(2, 2, 4, 5), with_items], opset=21,
            pooled_shape=[2, 3], spatial_scale=scale,
        )  # fmt: skip
    for center in (0, 1):
        for score in (None, 0.4):
            boxes = reals(2, 8, 4, low=0.0)
            threshold = np.array([0.3], np.float32)
            inputs = [boxes, reals(2, 2, 8, low=0.0), ints(3), threshold]
            inputs += [np.array([score], np.float32)] if score else []
            yield case(f"nonmaxsuppression_{center}_{score or 'all'}", "NonMaxSuppression", inputs, opset=11, center_point_box=center)


def moving_cases():
    yield case("col2im_strided_3d", "Col2Im", [reals(1, 16, 8), ints(3, 4, 5), ints(2, 2, 2)], strides=[1, 2, 2])
    yield case("col2im_padded", "Col2Im", [reals(2, 8, 6), ints(4, 5), ints(2, 2)], pads=[1, 0, 0, 1], strides=[2, 2])
    for corners in (0, 1):
        sizes = {"2d": (reals(2, 2, 3), ints(2, 1, 2, 3)), "3d": (reals(1, 3, 4), ints(1, 1, 2, 3, 2))}
        for name, inputs in sizes.items():
            yield case(f"affinegrid_{name}_{corners}", "AffineGrid", inputs, align_corners=corners)
    for axes, shape in [([0, -1], (2, 6)), ([-2], (5,)), (None, (4, 2, 3))]:
        given = {} if axes is None else {"axes": axes}
        yield case(f"centercroppad_{len(shape)}", "CenterCropPad", [reals(3, 4, 2), ints(*shape)], **given)
    x = RANDOM.integers(0, 2, (2, 5, 2)).astype(np.float32)
    for axis in (None, 0, 1, -1):
        for in_order in (0, 1):
            given = {} if axis is None else {"axis": axis}
            yield case(f"unique_{axis}_{in_order}", "Unique", [x], 4, sorted=in_order, **given)
    for mode, starts in (("linear", (1, 3)), ("circular", (-1, 4))):
        inputs = [reals(2, 2, 5, 2), reals(2, 2, 2, 2), ints(*starts)]
        yield case(f"tensorscatter_{mode}", "TensorScatter", inputs, opset=24, run=reference, mode=mode)
    places = ints(0, 3, 4, 6, 8, 11).reshape(1, 2, 3)
    yield case("maxunpool_1d", "MaxUnpool", [reals(1, 2, 3), places], kernel_shape=[2], strides=[2])


def main():
    generators = [recurrent_cases, grid_sample_cases, deformable_cases, detection_cases, moving_cases]
    lines = [line for generator in generators for line in generator()]
    path = pathlib.Path(__file__).with_name("runtime_cases.tsv")
    path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
