"""Writes the operator schemas of the installed `onnx` wheel to `schemas.tsv`, which `ir/tests/schema.rs` reads.

One line an operator of `ai.onnx`, at its newest version up to the canonical operator set. Columns, separated by tabs:
name; versions; inputs; outputs; attributes; type constraints. Lists within a column are separated by spaces.
A parameter is `name:type`, with `?` after the name when optional and `*` when variadic. An attribute is `name:kind`,
followed by `!` when required, `?` when optional without a default, and `=` with the default as JSON otherwise.
"""

import json
import pathlib

import onnx
import onnx.defs

CANONICAL_OPSET = 28
ARITY = {0: "", 1: "?", 2: "*"}  # FormalParameterOption: single, optional, variadic.


def parameters(formals):
    return " ".join(f"{p.name}{ARITY[int(p.option)]}:{p.type_str}" for p in formals)


def attribute(attr):
    kind = attr.type.name.lower()
    if attr.required:
        return f"{attr.name}:{kind}!"
    if not attr.default_value.name:
        return f"{attr.name}:{kind}?"
    value = onnx.helper.get_attribute_value(attr.default_value)
    if isinstance(value, bytes):
        value = value.decode()
    elif not isinstance(value, (int, float)):
        value = [item.decode() if isinstance(item, bytes) else item for item in value]
    text = json.dumps(value, separators=(",", ":"))
    assert " " not in text, (attr.name, text)
    return f"{attr.name}:{kind}={text}"


def type_text(constraint):
    names = []
    for text in constraint.allowed_type_strs:
        if text.startswith("tensor("):
            names.append(text[len("tensor("):-1])
    return f"{constraint.type_param_str}:{','.join(sorted(names))}"


def main():
    by_name = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "" and schema.since_version <= CANONICAL_OPSET:
            by_name.setdefault(schema.name, []).append(schema)
    lines = []
    for name, schemas in sorted(by_name.items()):
        schemas.sort(key=lambda schema: schema.since_version)
        newest = schemas[-1]
        if newest.deprecated:
            continue
        lines.append(
            "\t".join(
                [
                    name,
                    " ".join(str(s.since_version) for s in schemas),
                    parameters(newest.inputs),
                    parameters(newest.outputs),
                    " ".join(attribute(newest.attributes[key]) for key in sorted(newest.attributes)),
                    " ".join(type_text(c) for c in newest.type_constraints),
                ]
            )
        )
    path = pathlib.Path(__file__).with_name("schemas.tsv")
    path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
