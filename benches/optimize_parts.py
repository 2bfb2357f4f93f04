"""Where the time of `eutectic optimize` goes; a JSON line for each model.

    cargo build --release
    python3 benches/optimize_parts.py MODEL.onnx... > benches/results/optimize-parts.jsonl

Reading, writing and certificates are left out. A trace costs some time itself, so the sum is more than `optimize` takes alone.
"""

import collections
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

EUTECTIC = os.environ.get("EUTECTIC", os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release", "eutectic"))


def parts(model):
    """Seconds of each pass, of search and of application, and all between the first event and the last."""
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace"
        command = [EUTECTIC, "optimize", model, "--certify", "none", "--trace", trace, "-q"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        events = [json.loads(line) for line in (trace / "trace.jsonl").read_text().splitlines()]
    seconds = collections.Counter()
    for event in events:
        if event["event"] == "pass":
            seconds[event["pass"]] += event["seconds"]
        elif event["event"] == "round":
            seconds["search"] += event["search_seconds"]
            seconds["apply"] += event["apply_seconds"]
    end = next(event for event in events if event["event"] == "end")
    return {"nodes": end["nodes"], "all": end["at_seconds"]} | {name: round(value, 5) for name, value in seconds.items()}


def main(models):
    for model in models:
        for run in range(3):
            print(json.dumps({"model": os.path.basename(model), "run": run} | parts(model) | {"load": os.getloadavg()[0]}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
