"""Infers the types of ONNX models with ONNX's own shape inference, from their inputs and weights alone.

Reads lines ``path<TAB>variant`` from standard input. For each prints one line of JSON: for every name of the main graph
that is the result of a node its type, or null where nothing is inferred. A type is ``{"tensor": [element, shape]}``, shape
null when the rank is unknown and each dim a number, a name or null; ``{"sequence": type}`` or ``{"optional": type}``.

The types that the file declares of results are taken away first, so that inference answers and not the file. A variant
changes what is known of the inputs, in the same way as the Rust side does: ``constant`` makes those after the first that are
short vectors or scalars weights, with the values of the data beside the model; ``symbolic`` names every dim of the others.
"""

import json
import pathlib
import sys

import onnx
from onnx import shape_inference

# Longer vectors are data rather than parameters.
LONGEST = 16


def small_value(path):
    """The tensor at ``path`` when it is short enough to be a parameter."""
    if not path.exists():
        return None
    tensor = onnx.TensorProto.FromString(path.read_bytes())
    return tensor if len(tensor.dims) == 0 or (len(tensor.dims) == 1 and tensor.dims[0] <= LONGEST) else None


def make_constants(model, data):
    kept = []
    for at, value in enumerate(model.graph.input):
        tensor = None
        if at > 0 and value.type.WhichOneof("value") == "tensor_type":
            tensor = small_value(data / f"input_{at}.pb")
        if tensor is None:
            kept.append((at, value))
        else:
            tensor.name = value.name
            model.graph.initializer.append(tensor)
    # Before this version every weight had to be an input too.
    model.ir_version = max(model.ir_version, 4)
    return kept


def make_symbols(inputs):
    for at, value in inputs:
        if value.type.WhichOneof("value") == "tensor_type":
            for axis, dim in enumerate(value.type.tensor_type.shape.dim):
                dim.dim_param = f"d{at}_{axis}"


def change(model, variant, data):
    inputs = list(enumerate(model.graph.input))
    if "constant" in variant:
        inputs = make_constants(model, data)
    if "symbolic" in variant:
        make_symbols(inputs)
    kept = [value for _, value in inputs]
    copies = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in kept]
    del model.graph.input[:]
    model.graph.input.extend(copies)


def names_of_dims(graph):
    """The symbols that the inputs declare; ONNX names every other unknown dim itself, and such a name says nothing."""
    names = set()

    def visit(kind):
        which = kind.WhichOneof("value")
        if which == "tensor_type":
            names.update(dim.dim_param for dim in kind.tensor_type.shape.dim if dim.dim_param)
        elif which in ("sequence_type", "optional_type"):
            visit(getattr(kind, which).elem_type)

    for value in graph.input:
        visit(value.type)
    return names


def described(kind, names):
    which = kind.WhichOneof("value")
    if which == "tensor_type" and kind.tensor_type.elem_type:
        tensor = kind.tensor_type
        if not tensor.HasField("shape"):
            return {"tensor": [tensor.elem_type, None]}

        def size(dim):
            if dim.HasField("dim_value"):
                return dim.dim_value
            return dim.dim_param if dim.dim_param in names else None

        return {"tensor": [tensor.elem_type, [size(dim) for dim in tensor.shape.dim]]}
    if which in ("sequence_type", "optional_type"):
        item = described(getattr(kind, which).elem_type, names)
        return item and {which.removesuffix("_type"): item}
    return None


def inferred(path, variant):
    model = onnx.load(path, load_external_data=False)
    if variant:
        change(model, variant, pathlib.Path(path).with_name("test_data_set_0"))
    names = names_of_dims(model.graph)
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.ClearField("type")
    graph = shape_inference.infer_shapes(model, data_prop=True, strict_mode=False).graph
    types = {name: None for node in graph.node for name in node.output if name}
    for value in [*graph.value_info, *graph.output]:
        kind = described(value.type, names)
        if kind and value.name in types:
            types[value.name] = kind
    return types


for line in sys.stdin:
    print(json.dumps(inferred(*line.rstrip("\n").split("\t"))), flush=True)
