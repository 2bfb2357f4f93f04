"""Check every published rule in both readings and write one record a rule and reading.

usage: produce.py EUTECTIC OUT

The texts are those of `results.jsonl`; `by_hand.jsonl` holds the analysis that was written before any rule was checked.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

FILES = {"tensat_rules.txt": "single", "tensat_rules_multi.txt": "pair"}


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def check(program, published, folder):
    """The verdicts of `eutectic rules import` on the published texts."""
    for name in FILES:
        texts = [rule["text"].replace("; ", "\n") for rule in published if rule["file"] == name]
        (folder / name).write_text("\n".join(texts) + "\n")
    single, pairs = FILES
    results = folder / "results.jsonl"
    command = [program, "rules", "import", "--format", "tensat", single, "--pairs", pairs, "--results", results.name]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    # 1 says that unsound rules were found.
    if done.returncode not in (0, 1):
        sys.exit(f"error: {done.stderr}")
    return lines(results)


def records(found, by_hand):
    by_name = {rule["name"]: rule for rule in found}
    for rule, hand in zip(found, by_hand, strict=True):
        # A rule that repeats another one shares its verdict; one whose sides are one graph names itself.
        judged = by_name.get(rule.get("same_as"), rule)
        for reading in ("strict", "liberal"):
            verdict = judged.get(reading, {"verdict": "sound"})
            if "same_as" in rule:
                kind = "repeats another" if judged is not rule else "says nothing"
            else:
                kind = verdict["verdict"]
            problem = verdict.get("problem") if kind == "unsound" else None
            yield {
                "rule": rule["name"],
                "form": FILES[rule["file"]],
                "reading": reading,
                "outcome": kind,
                "carrier": verdict.get("carrier"),
                "instances": verdict.get("instances"),
                "differs_in": problem and problem["kind"],
                "by_hand": "agrees" if hand[reading] == verdict["verdict"] else "differs",
            }


def main():
    program, out = sys.argv[1:]
    here = Path(__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        found = check(program, lines(here / "results.jsonl"), Path(folder))
    with open(out, "a", encoding="utf-8") as file:
        for record in records(found, lines(here / "by_hand.jsonl")):
            file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
