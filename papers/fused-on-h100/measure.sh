#!/usr/bin/env bash
# Measures the patterns of this study on the GPU of this machine, about seven minutes; called again, it goes on where it stopped.
#
#   EUTECTIC=target/release/eutectic PYTHON=python3 OUT=target/studies papers/fused-on-h100/measure.sh
#
# PYTHON has PyTorch with CUDA. Samples come to lie in OUT/fused-on-h100-reproduced, with the agreement table at the end.
set -u
: "${EUTECTIC:?the program that is measured}" "${PYTHON:?a Python with PyTorch}" "${OUT:?where samples go}"
EUTECTIC=$(realpath "$EUTECTIC")
mkdir -p "$OUT"
OUT=$(realpath "$OUT")
cd "$(dirname "$0")" || exit 1
export PYTHON
# Both use the libraries that PyTorch brings, so that cuDNN is the same; PyTorch finds them by itself.
EUTECTIC_LIBRARIES=$("$PYTHON" -c '
import glob, site
print(":".join(sorted(path for base in site.getsitepackages() for path in glob.glob(base + "/nvidia/*/lib"))))')
export EUTECTIC_LIBRARIES
# The study's command is python3, whose standard library is enough.
if ! command -v python3 > /dev/null; then
    mkdir -p "$OUT/bin"
    printf '#!/bin/sh\nexec "%s" "$@"\n' "$PYTHON" > "$OUT/bin/python3"
    chmod +x "$OUT/bin/python3"
    PATH=$OUT/bin:$PATH
fi
date
if [ ! -d "$OUT/fused-on-h100-reproduced/raw" ]; then
    python3 produce.py --compile > "$OUT/compile.log" 2>&1
    date
fi
"$EUTECTIC" study run . --reproduce --machine "${MACHINE:-h100}" --into "$OUT"
date
grep -h '"failure"' "$OUT"/fused-on-h100-reproduced/raw/*/*.jsonl | cut -c -300 | head -20
exit 0
