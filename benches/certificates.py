"""Exact certificates of whole networks; a JSON line for each model.

    cargo build --release
    python3 benches/certificates.py MODEL.onnx... > benches/results/certificates.jsonl

The models are those of `papers/models/export.py`. A line holds what `optimize --certify exact` says of the model, and how long
the certificate took; on a machine that does other work too, the processor's seconds of the whole process tell more.
"""

import hashlib
import json
import os
import sys
import tempfile

EUTECTIC = os.environ.get("EUTECTIC", os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release", "eutectic"))


def main(models):
    with open("/proc/cpuinfo") as lines:
        cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")
    for model in models:
        digest = hashlib.sha256()
        with open(model, "rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
        with tempfile.TemporaryFile() as output:
            arguments = [EUTECTIC, "--json", "optimize", model, "--certify", "exact"]
            actions = [(os.POSIX_SPAWN_DUP2, output.fileno(), 1)]
            process = os.posix_spawn(EUTECTIC, arguments, os.environ, file_actions=actions)
            _, status, usage = os.wait4(process, 0)
            output.seek(0)
            found = json.loads(output.read() or b"{}")
        exact = found.get("exact") or {}
        line = {
            "model": os.path.basename(model),
            "sha256": digest.hexdigest(),
            "exit": os.waitstatus_to_exitcode(status),
            "exact": exact,
            "rules": sum(rule["fired"] for rule in found.get("rules", [])),
            "process": {"user": round(usage.ru_utime, 2), "system": round(usage.ru_stime, 2), "peak": usage.ru_maxrss * 1024},
            "cpu": cpu,
            "cores": os.cpu_count(),
            "load": os.getloadavg()[0],
        }
        print(json.dumps(line), flush=True)
        print(
            f"{line['model']}: {exact.get('verdict')} {exact.get('reason') or ''} bound {exact.get('bound')}"
            f" {exact.get('seconds')} s, processor {usage.ru_utime + usage.ru_stime:.1f} s",
            file=sys.stderr,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
