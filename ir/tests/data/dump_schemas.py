"""Writes the operator schemas of the installed `onnx` wheel to `schemas.tsv`, which `ir/tests/schema.rs` reads, and
what each version changed to `schema_changes.tsv`, which `ir/onnx/src/opset/tests.rs` reads.

In `schemas.tsv`, one line an operator, at its newest version; of `ai.onnx` the newest up to the canonical operator set. The
name of an operator of another domain has that before it. Columns, separated by tabs: name; versions; inputs; outputs; attributes; type constraints. Lists within a column are separated by spaces.
A parameter is `name:type`, with `?` after the name when optional, `*` when variadic, and `*+` when its occurrences may
differ in type. An attribute is `name:kind`, followed by `!` when required, `?` when optional without a default, and `=` with the default as JSON otherwise.

In `schema_changes.tsv`, one line an operator and version. Columns: name; version; attributes, each after `+` when new, `-`
when gone and `~` when its kind or default changed; `parameters` when inputs or outputs came, went or became optional;
element types that no parameter had before; element types that none has any more. The first version of an operator has
`new` in place of all these.
"""

import json
import pathlib

import onnx
import onnx.defs

CANONICAL_OPSET = 28
OTHER_DOMAINS = ["ai.onnx.ml", "ai.onnx.preview", "ai.onnx.preview.training"]
ARITY = {0: "", 1: "?", 2: "*"}  # FormalParameterOption: single, optional, variadic.


def parameters(formals):
    return " ".join(f"{p.name}{ARITY[int(p.option)]}{'' if p.is_homogeneous else '+'}:{p.type_str}" for p in formals)


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


def elements(schema):
    texts = {text for constraint in schema.type_constraints for text in constraint.allowed_type_strs}
    texts |= {formal.type_str for formal in [*schema.inputs, *schema.outputs]}
    return {text[len("tensor("):-1] for text in texts if text.startswith("tensor(")}


def changes(before, after):
    old, new = ({name: attribute(a) for name, a in s.attributes.items()} for s in (before, after))
    marks = [f"+{name}" for name in sorted(new.keys() - old.keys())]
    marks += [f"-{name}" for name in sorted(old.keys() - new.keys())]
    marks += [f"~{name}" for name in sorted(old.keys() & new.keys()) if old[name] != new[name]]
    arities = [[[int(p.option) for p in formals] for formals in (s.inputs, s.outputs)] for s in (before, after)]
    return [
        " ".join(marks),
        "parameters" if arities[0] != arities[1] else "",
        ",".join(sorted(elements(after) - elements(before))),
        ",".join(sorted(elements(before) - elements(after))),
    ]


def write(name, lines):
    pathlib.Path(__file__).with_name(name).write_text("\n".join(lines) + "\n")


def main():
    by_name = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "" and schema.since_version <= CANONICAL_OPSET:
            by_name.setdefault(schema.name, []).append(schema)
        if schema.domain in OTHER_DOMAINS:
            by_name.setdefault(f"{schema.domain}.{schema.name}", []).append(schema)
    lines, history = [], []
    for name, schemas in sorted(by_name.items()):
        schemas.sort(key=lambda schema: schema.since_version)
        history.append(f"{name}\t{schemas[0].since_version}\tnew")
        for before, after in zip(schemas, schemas[1:]):
            # A deprecated version says only that the operator is gone.
            columns = ["deprecated"] if after.deprecated and not after.inputs else changes(before, after)
            history.append("\t".join([name, str(after.since_version), *columns]))
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
    write("schemas.tsv", lines)
    write("schema_changes.tsv", history)


if __name__ == "__main__":
    main()
