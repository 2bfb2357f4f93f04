"""Take samples that `eutectic bench --raw` and papers/models/peers.py wrote on a GPU into the study.

usage: produce.py FILE OUT            the samples of a file, one record a variant
       produce.py --environment FILES  what they say of the machine, for env/h100.json

`eutectic bench` samples each program a second time as if it were another one; that becomes a variant of its own, `-again`.
"""

import json
import sys
from pathlib import Path

MODELS = {
    "resnet50_ts17bn.onnxtxt": "resnet50", "resnet50": "resnet50", "bert_base_ts17.onnxtxt": "bert", "bert": "bert",
    "gpt2_dy18.onnxtxt": "gpt2", "gpt2": "gpt2", "mobilenet_v3_large_dy18.onnxtxt": "mobilenet", "mobilenet_v3_large": "mobilenet",
}
VARIANTS = {
    "fused": "fused", "unfused": "unfused", "eager": "torch-eager", "eager with mask": "torch-eager", "compile": "torch-compile",
    "compile with mask": "torch-compile",
}


def lines(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def records(line):
    about = {"variant": VARIANTS[line["variant"]], "precision": line["precision"], "batch": line["batch"]}
    # A program is a model, or one pattern of a few operators.
    if line.get("kernel"):
        about["pattern"] = line["kernel"]
    else:
        about["model"] = MODELS[line["model"]]
    measured = {"seconds": line["seconds"]}
    measured |= {name: line[name] for name in ("error", "launches", "prepare_seconds", "clock_mhz") if name in line}
    yield about | measured
    if line.get("control_seconds"):
        yield about | {"variant": about["variant"] + "-again", "seconds": line["control_seconds"]}


def main():
    if sys.argv[1] == "--environment":
        found = {}
        for path in sys.argv[2:]:
            for line in lines(path):
                found.setdefault(line["backend"], {}).update(line["environment"])
        # What differs from program to program is no property of the machine.
        found.get("cuda", {}).pop("memory_copies", None)
        print(json.dumps(found, indent=2, sort_keys=True))
        return
    source, out = sys.argv[1:]
    with open(out, "a", encoding="utf-8") as file:
        for line in lines(source):
            for record in records(line):
                file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
