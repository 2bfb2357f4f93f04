"""Checks the text form against ONNX's own parser and printer. Run by hand, from the repository root:

    cargo build -p eutectic-ir --example reprint
    python ir/tests/data/check_text.py ir/tests/data/text/*.onnxtxt [MODEL.onnx ...]

A text file must be accepted by `onnx.parser`, and so must what we print of it; both must say the same. Of an ONNX
file, `onnx.printer` makes a text (long weights become recipes), which must survive the same way.

What the comparison forgives, because the IR holds it in one form: `Constant` nodes and weights, attributes that have
their default, and the domain `ai.onnx`.
"""

import pathlib
import subprocess
import sys

import numpy as np
import onnx
import onnx.parser
import onnx.printer
from onnx import AttributeProto, TensorProto, numpy_helper

REPRINT = pathlib.Path("target/debug/examples/reprint")
LONG = 64


class Difference(Exception):
    """Our text and theirs do not say the same."""


def reprint(text):
    ran = subprocess.run([REPRINT], input=text.encode(), capture_output=True)
    if ran.returncode:
        raise Difference("refused: " + ran.stderr.decode()[:300])
    return ran.stdout.decode()


def shorten(tensor):
    """Puts a recipe in place of long contents, which `onnx.printer` prints as external data."""
    count = 1
    for dim in tensor.dims:
        count *= dim
    if count <= LONG or tensor.data_type == TensorProto.STRING:
        return
    for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
        tensor.ClearField(field)
    del tensor.external_data[:]
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    real = tensor.data_type in (TensorProto.FLOAT, TensorProto.DOUBLE)
    entry.key, entry.value = "location", "splat:1.0" if real else "splat:1"


def say_tensor(tensor):
    shape = (tensor.data_type, tuple(tensor.dims))
    if tensor.data_location == TensorProto.EXTERNAL:
        return shape, tuple((entry.key, entry.value) for entry in tensor.external_data)
    if tensor.data_type == TensorProto.STRING:
        return shape, tuple(tensor.string_data)
    if tensor.data_type in (TensorProto.INT4, TensorProto.UINT4, TensorProto.INT2, TensorProto.UINT2):
        return shape, tuple(tensor.int32_data)  # One element each, which numpy_helper takes for packed ones.
    return shape, numpy_helper.to_array(tensor).tobytes()


def say_attribute(attribute):
    if attribute.ref_attr_name:
        return "reference", attribute.ref_attr_name, attribute.type
    value = onnx.helper.get_attribute_value(attribute)
    if attribute.type == AttributeProto.TENSOR:
        return "tensor", say_tensor(value)
    if attribute.type == AttributeProto.GRAPH:
        return "graph", say_graph(value)
    if attribute.type == AttributeProto.TYPE_PROTO:
        return "type", value.SerializeToString(deterministic=True)
    if attribute.type == AttributeProto.FLOAT:
        return "float", str(value)
    if attribute.type == AttributeProto.FLOATS:
        return "floats", tuple(map(str, value))
    return attribute.type, tuple(value) if isinstance(value, (list, tuple)) or hasattr(value, "append") else value


def say_node(node, opsets):
    domain = "" if node.domain == "ai.onnx" else node.domain
    defaults = {}
    try:
        schema = onnx.defs.get_schema(node.op_type, opsets.get(domain, 1), domain)
        for name, declared in schema.attributes.items():
            if declared.default_value.type:
                default = onnx.AttributeProto()
                default.CopyFrom(declared.default_value)
                defaults[name] = say_attribute(default)
    except onnx.defs.SchemaError:
        pass
    attributes = {attribute.name: say_attribute(attribute) for attribute in node.attribute}
    attributes = {name: value for name, value in attributes.items() if defaults.get(name) != value}
    return (domain, node.op_type, node.overload, node.name, tuple(node.input), tuple(node.output),
            tuple(sorted(attributes.items(), key=lambda item: item[0])))


def constant(node):
    """The tensor that a `Constant` node gives, or None for another node."""
    if node.op_type != "Constant" or node.domain or len(node.attribute) != 1 or node.attribute[0].ref_attr_name:
        return None
    attribute = node.attribute[0]
    value = onnx.helper.get_attribute_value(attribute)
    types = {"value_int": np.int64, "value_ints": np.int64, "value_float": np.float32, "value_floats": np.float32}
    if attribute.name in types:
        return numpy_helper.from_array(np.array(value, types[attribute.name]))
    return value if attribute.name == "value" else None


OPSETS = {}


def say_graph(graph):
    weights = {tensor.name: say_tensor(tensor) for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        contents = constant(node)
        if contents is not None:
            weights[node.output[0]] = say_tensor(contents)
        else:
            nodes.append(say_node(node, OPSETS))
    value = lambda info: (info.name, info.type.SerializeToString(deterministic=True))
    outputs = tuple(map(value, graph.output))
    declared = {name for name, _ in outputs} | {info.name for info in graph.input} | set(weights)
    between = sorted(value(info) for info in graph.value_info if info.name not in declared)
    return (graph.name, tuple(map(value, graph.input)), outputs, tuple(sorted(weights.items())), tuple(nodes),
            tuple(between))


def say_model(model):
    OPSETS.clear()
    OPSETS.update({opset.domain: opset.version for opset in model.opset_import})
    functions = []
    for function in model.functions:
        nodes = tuple(say_node(node, OPSETS) for node in function.node)
        formals = tuple(sorted((formal.name, say_attribute(formal)) for formal in function.attribute_proto))
        functions.append((function.domain, function.name, function.overload, tuple(function.attribute), formals,
                          tuple(function.input), tuple(function.output), tuple(sorted(map(repr, nodes)))))
    header = (model.ir_version, sorted(OPSETS.items()), model.producer_name, model.producer_version, model.domain,
              model.model_version, model.doc_string, tuple((p.key, p.value) for p in model.metadata_props))
    return {"header": header, "graph": say_graph(model.graph), "functions": tuple(functions)}


def first_difference(theirs, mine, path):
    if theirs == mine:
        return None
    if isinstance(theirs, dict):
        theirs, mine = tuple(sorted(theirs.items())), tuple(sorted(mine.items()))
    if isinstance(theirs, (tuple, list)) and len(theirs) == len(mine):
        return next(filter(None, (first_difference(a, b, f"{path}/{at}") for at, (a, b) in enumerate(zip(theirs, mine)))))
    if isinstance(theirs, (tuple, list)):
        missing = [item for item in theirs if item not in mine][:2]
        added = [item for item in mine if item not in theirs][:2]
        return f"{path}: onnx has {len(theirs)}, ours {len(mine)}; missing {missing!s:.300}; added {added!s:.300}"
    return f"{path}: onnx {theirs!s:.200}, ours {mine!s:.200}"


def compare(name, text):
    ours = reprint(text)
    if reprint(ours) != ours:
        raise Difference("our text is not stable")
    theirs, mine = say_model(onnx.parser.parse_model(text)), say_model(onnx.parser.parse_model(ours))
    where = first_difference(theirs, mine, "")
    if where:
        raise Difference(where)
    print(f"{name}: same ({len(text)} characters, ours {len(ours)})")


def main():
    n_failed = 0
    for path in map(pathlib.Path, sys.argv[1:]):
        try:
            if path.suffix == ".onnx":
                model = onnx.load(path, load_external_data=False)
                for tensor in model.graph.initializer:
                    shorten(tensor)
                compare(path.name, onnx.printer.to_text(model))
            else:
                compare(path.name, path.read_text())
        except Difference as difference:
            print(f"{path.name}: {difference}")
            n_failed += 1
    return n_failed


sys.exit(main() > 0)
