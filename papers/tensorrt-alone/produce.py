"""Build one model for TensorRT and count the kernels of the engine.

usage: produce.py EUTECTIC LIBRARY MODEL WAY OUT

WAY is `parser` (NVIDIA's own ONNX parser), `as-is` (our lowering of the model as it is) or `optimized` (after our rewriting).
"""

import json
import subprocess
import sys
from collections import Counter


def main():
    program, library, model, way, out = sys.argv[1:]
    command = [program, "lower", model, "--target", "tensorrt", "--json", "-q", "--trt-lib", library]
    command += {"parser": ["--as-is", "--crossCheck"], "as-is": ["--as-is"], "optimized": []}[way]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        sys.exit(next((line for line in done.stderr.splitlines() if "error" in line), f"error: {done.stderr[-300:]}"))
    found = json.loads(done.stdout)
    if way == "parser":
        record = {"kernels": found["parser"]["kernels"], "layers": found["parser"].get("layers")}
    else:
        kinds = Counter(kernel["kind"] for kernel in found["kernels"])
        record = {
            "kernels": len(found["kernels"]),
            "layers": found["layers"],
            "kinds": dict(kinds),
            "engine_bytes": found["engine_bytes"],
        }
    record["build_seconds"] = found["seconds"]
    with open(out, "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
