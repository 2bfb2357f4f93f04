"""Writes small cases of ONNX's own operator tests to `node_cases.tsv`, which `ir/tests/node_cases.rs` runs.

Kept are cases of one call of an `ai.onnx` operator at its newest schema up to the canonical operator set, with tensors
of a few elements. Columns, separated by tabs: case; operator; attributes; inputs; outputs. Within a column, items are
separated by spaces. A tensor is `type[dims]=values`, its values separated by commas and strings quoted as JSON with
spaces as \\u0020; `*count` behind a value repeats it; `-` is an input or output left out. An attribute is
`name=kind:value`.
"""

import json
import pathlib
import warnings

import ml_dtypes  # noqa: F401  (the dtypes of narrow tensors)
import numpy as np
import onnx
import onnx.defs
from onnx.backend.test.loader import load_node_model_tests

CANONICAL_OPSET = 28
MOST_ELEMENTS = 130
# More for operators whose smallest telling cases are larger.
MORE_ELEMENTS = {"DFT": 200, "MelWeightMatrix": 150, "NegativeLogLikelihoodLoss": 540, "STFT": 270}
MOST_PER_OPERATOR = 4000  # Characters; longer cases of an operator that has used them up are left out.
# Operators whose cases are larger, and in part the reason why they differ: elements, characters.
LARGER = dict.fromkeys(
    "CenterCropPad Col2Im DeformConv GRU GridSample LSTM NonMaxSuppression RNN RoiAlign TensorScatter".split(), (240, 8000)
)
# Of no use to a graph optimizer of inference.
LEFT_OUT = {"Attention"}
KINDS = {
    np.dtype(name): text
    for name, text in [
        ("float32", "float"), ("float64", "double"), ("float16", "float16"), ("int8", "int8"), ("int16", "int16"),
        ("int32", "int32"), ("int64", "int64"), ("uint8", "uint8"), ("uint16", "uint16"), ("uint32", "uint32"),
        ("uint64", "uint64"), ("bool", "bool"), ("bfloat16", "bfloat16"), ("int4", "int4"), ("uint4", "uint4"),
        ("int2", "int2"), ("uint2", "uint2"), ("float8_e4m3fn", "float8e4m3fn"), ("float8_e4m3fnuz", "float8e4m3fnuz"),
        ("float8_e5m2", "float8e5m2"), ("float8_e5m2fnuz", "float8e5m2fnuz"), ("float8_e8m0fnu", "float8e8m0"),
        ("float4_e2m1fn", "float4e2m1"),
    ]
}  # fmt: skip


# Parts of large cases that are cases of their own, since their results depend on nothing outside them.
PARTS = {
    "Erf": (0, 0, 0, slice(0, 32)),
    "Mish": slice(0, 10000, 400),
    "LRN": (slice(0, 1), slice(0, 5), slice(0, 2), slice(0, 2)),
}


class Skip(Exception):
    pass


def quoted(text):
    return json.dumps(text).replace(" ", "\\u0020").replace("\t", "\\t")


def number(value, kind):
    if kind == "bool":
        return str(int(value))
    if kind == "float":
        return repr(float(str(np.float32(value)))).removesuffix(".0")
    if kind in ("double", "float16", "bfloat16") or kind.startswith(("float8", "float4")):
        return repr(float(value)).removesuffix(".0")
    return str(int(value))


def array(value):
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def tensor(value, most=MOST_ELEMENTS):
    if value is None:
        return "-"
    if not isinstance(value, (np.ndarray, np.generic)):
        raise Skip("not a tensor")
    value = np.asarray(value)
    if value.size > most:
        raise Skip("large")
    if value.dtype.kind in "OSU":
        kind, texts = "string", [quoted(v.decode() if isinstance(v, bytes) else str(v)) for v in value.flatten()]
    elif value.dtype in KINDS:
        kind = KINDS[value.dtype]
        texts = [number(v, kind) for v in value.flatten()]
    else:
        raise Skip("element type")
    runs = []
    for text in texts:
        if runs and runs[-1][0] == text:
            runs[-1][1] += 1
        else:
            runs.append([text, 1])
    values = ",".join(text if count == 1 else f"{text}*{count}" for text, count in runs)
    return f"{kind}[{','.join(map(str, value.shape))}]={values}"


def attribute(attr):
    value = onnx.helper.get_attribute_value(attr)
    kind = onnx.AttributeProto.AttributeType.Name(attr.type).lower()
    if kind == "tensor":
        return f"{attr.name}=tensor:{tensor(onnx.numpy_helper.to_array(value))}"
    if kind == "string":
        return f"{attr.name}=string:{quoted(value.decode())}"
    if kind in ("int", "float"):
        return f"{attr.name}={kind}:{value!r}"
    if kind == "strings":
        return f"{attr.name}=strings:{','.join(quoted(item.decode()) for item in value)}"
    if kind in ("ints", "floats"):
        return f"{attr.name}={kind}:{','.join(map(repr, value))}"
    if kind == "strings":
        return f"{attr.name}=strings:{','.join(quoted(v.decode()) for v in value)}"
    raise Skip("attribute kind")


def fits(op, node, inputs, outputs):
    """The newest schema up to the canonical operator set describes this call too."""
    try:
        newest = onnx.defs.get_schema(op, CANONICAL_OPSET)
    except onnx.defs.SchemaError:
        return False
    allowed = {c.type_param_str: set(c.allowed_type_strs) for c in newest.type_constraints}
    for value, formal in [*zip(inputs, newest.inputs), *zip(outputs, newest.outputs)]:
        if isinstance(value, np.ndarray) and value.dtype in KINDS:
            if f"tensor({KINDS[value.dtype]})" not in allowed.get(formal.type_str, {formal.type_str}):
                return False
    known = set(newest.attributes)
    return not newest.deprecated and all(a.name in known for a in node.attribute)


def is_newest(node, opset, inputs, outputs):
    try:
        newest = onnx.defs.get_schema(node.op_type, CANONICAL_OPSET).since_version
        version = onnx.defs.get_schema(node.op_type, opset).since_version
    except onnx.defs.SchemaError:
        return False
    return version == newest or (version > CANONICAL_OPSET and fits(node.op_type, node, inputs, outputs))


def line_of(case):
    graph = case.model.graph
    opsets = {o.domain: o.version for o in case.model.opset_import}
    if len(graph.node) != 1 or graph.node[0].domain or graph.initializer or len(case.data_sets) != 1:
        raise Skip("not one call")
    node = graph.node[0]
    inputs, outputs = ([array(value) for value in values] for values in case.data_sets[0])
    if part := PARTS.get(node.op_type):
        inputs, outputs = ([value[part] for value in values] for values in (inputs, outputs))
    if node.op_type in LEFT_OUT or not is_newest(node, opsets[""], inputs, outputs):
        raise Skip("another schema")
    most = MORE_ELEMENTS.get(node.op_type, MOST_ELEMENTS)
    given = dict(zip([i.name for i in graph.input], inputs, strict=True))
    made = dict(zip([o.name for o in graph.output], outputs, strict=True))
    most, _ = LARGER.get(node.op_type, (MOST_ELEMENTS, 0))
    columns = [
        case.name.removeprefix("test_"),
        node.op_type,
        " ".join(attribute(a) for a in node.attribute),
        " ".join(tensor(given[name], most) if name else "-" for name in node.input),
        " ".join(tensor(made[name], most) if name else "-" for name in node.output),
    ]
    return node.op_type, "\t".join(columns)


def main():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = load_node_model_tests()
    found = []
    for case in cases:
        try:
            found.append(line_of(case))
        except Skip:
            continue
    lines, used = [], {}
    for op, line in sorted(found, key=lambda pair: len(pair[1])):
        used[op] = used.get(op, 0) + len(line)
        _, most = LARGER.get(op, (0, MOST_PER_OPERATOR))
        if used[op] <= most or used[op] == len(line):
            lines.append(line)
    lines.sort()
    path = pathlib.Path(__file__).with_name("node_cases.tsv")
    path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
