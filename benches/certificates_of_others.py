"""What `eutectic certify` says of networks that other optimizers rewrote; a JSON line for each model and optimizer.

    cargo build --release
    python3 benches/certificates_of_others.py MODEL.onnx... > benches/results/certificates-of-others.jsonl

The models are those of `papers/models/export.py`. The interpreter needs onnxsim, onnxslim, onnxscript, onnxoptimizer and
onnxruntime. Each optimizer runs in a process of its own, since some end theirs.
"""

import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import onnx

EUTECTIC = os.environ.get("EUTECTIC", os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release", "eutectic"))
TOOLS = {
    "onnxsim": "onnxsim",
    "onnxslim": "onnxslim",
    "onnxscript": "onnxscript",
    "onnxoptimizer": "onnxoptimizer",
    "ort-basic": "onnxruntime",
    "ort-extended": "onnxruntime",
}


def rewrite(tool, before, after):
    """Writes what `tool` makes of the model `before` to `after`."""
    if tool.startswith("ort-"):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        level = {"ort-basic": "ORT_ENABLE_BASIC", "ort-extended": "ORT_ENABLE_EXTENDED"}[tool]
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        options.optimized_model_filepath = str(after)
        options.log_severity_level = 4
        onnxruntime.InferenceSession(str(before), options, providers=["CPUExecutionProvider"])
        return
    model = onnx.load(before)
    if tool == "onnxsim":
        import onnxsim

        model = onnxsim.simplify(model)[0]
    elif tool == "onnxslim":
        import onnxslim

        model = onnxslim.slim(model)
    elif tool == "onnxscript":
        from onnxscript import optimizer

        model = optimizer.optimize(model)
    else:
        import onnxoptimizer

        model = onnxoptimizer.optimize(model)
    onnx.save(model, after)


def operators(path):
    model = onnx.load(path, load_external_data=False)
    return len(model.graph.node), sorted({node.domain for node in model.graph.node if node.domain not in ("", "ai.onnx")})


def certify(tool, before):
    line = {"model": before.name, "tool": tool, "version": importlib.metadata.version(TOOLS[tool])}
    with tempfile.TemporaryDirectory() as folder:
        after = Path(folder) / "after.onnx"
        made = subprocess.run([sys.executable, __file__, "--rewrite", tool, before, after], capture_output=True, text=True)
        if made.returncode or not after.exists():
            words = made.stderr.strip().splitlines() or [f"status {made.returncode}"]
            return line | {"verdict": "not made", "reason": words[-1][:200]}
        (n_before, _), (n_after, domains) = operators(before), operators(after)
        line |= {"nodes": [n_before, n_after], "domains": domains}
        done = subprocess.run([EUTECTIC, "--json", "certify", before, after], capture_output=True, text=True)
        line["exit"] = done.returncode
    found = json.loads(done.stdout or "{}")
    if "exact" not in found:
        return line | {"verdict": "refused", "reason": (done.stdout + done.stderr).strip()[:300]}
    exact, f32 = found["exact"], found.get("f32")
    weights = exact["weights"]
    return line | {
        "verdict": exact["verdict"],
        "reason": exact["reason"],
        "bound": exact["bound"],
        "functions": exact["functions"],
        "lemmas": exact["lemmas"],
        "weights": {name: weights[name] for name in ("same", "folded", "worst_folding")} | {"unmatched": len(weights["unmatched"])},
        "f32": f32 and f32["worst"],
        "seconds": round(exact["seconds"], 2),
    }


def main(models):
    for model in map(Path, models):
        digest = hashlib.sha256(model.read_bytes()).hexdigest()
        for tool in TOOLS:
            line = certify(tool, model) | {"sha256": digest}
            print(json.dumps(line), flush=True)
            print(f"{line['model']} {tool}: {line['verdict']} {line.get('reason') or ''} {line.get('f32')}", file=sys.stderr)


if __name__ == "__main__":
    if sys.argv[1] == "--rewrite":
        rewrite(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
    else:
        main(sys.argv[1:])
