"""Take samples that `eutectic bench --raw` and papers/models/peers.py wrote on a GPU into the study.

usage: produce.py FILE OUT            the samples of a file, one record a variant
       produce.py --environment FILES  what they say of the machine, for env/h100.json
"""

import json
import sys
from pathlib import Path

MODELS = {
    "resnet50_ts17bn.onnxtxt": "resnet50", "resnet50": "resnet50", "bert_base_ts17.onnxtxt": "bert", "bert": "bert",
    "gpt2_dy18.onnxtxt": "gpt2", "mobilenet_v3_large_dy18.onnxtxt": "mobilenet",
}
VARIANTS = {
    "fused": "fused", "unfused": "unfused", "eager": "torch-eager", "eager with mask": "torch-eager", "compile": "torch-compile",
    "compile with mask": "torch-compile",
}


def lines(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def main():
    if sys.argv[1] == "--environment":
        found = {}
        for path in sys.argv[2:]:
            for line in lines(path):
                found.setdefault(line["backend"], {}).update(line["environment"])
        print(json.dumps(found, indent=2))
        return
    source, out = sys.argv[1:]
    with open(out, "a", encoding="utf-8") as file:
        for line in lines(source):
            record = {
                "model": MODELS[line["model"]],
                "variant": VARIANTS[line["variant"]],
                "precision": line["precision"],
                "batch": line["batch"],
                "seconds": line["seconds"],
            }
            record |= {name: line[name] for name in ("error", "launches", "prepare_seconds") if name in line}
            file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
