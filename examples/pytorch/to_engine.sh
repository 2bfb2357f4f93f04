#!/bin/sh
# PyTorch to a TensorRT engine: export, optimize, check, lower in three precisions, look inside.
#
#   PYTHON=python3 EUTECTIC=eutectic examples/pytorch/to_engine.sh OUT
set -eu
out=${1:?give a directory}
python=${PYTHON:-python3}
eutectic=${EUTECTIC:-eutectic}
here=$(dirname "$0")

"$python" "$here/export.py" "$out"

# The optimized model is ONNX again, certified against the original; any runtime takes it.
"$eutectic" optimize "$out/model.onnx" --target tensorrt -o "$out/optimized.onnx"
"$eutectic" compare "$out/model.onnx" "$out/optimized.onnx"

# One engine for batches of 1 to 32, best at 8. Where TensorRT dropped a precision flag, the casts and the quantization are ours.
shapes="--minShapes image:1x3x64x64 --optShapes image:8x3x64x64 --maxShapes image:32x3x64x64"
"$eutectic" lower --onnx "$out/optimized.onnx" $shapes --saveEngine "$out/fp32.engine"
"$eutectic" lower --onnx "$out/optimized.onnx" $shapes --fp16 --saveEngine "$out/fp16.engine"
"$eutectic" lower --onnx "$out/optimized.onnx" $shapes --int8 --calib "$out/calib" --saveEngine "$out/int8.engine"

# Which nodes share a kernel, and what INT8 changes about that.
"$eutectic" lower --loadEngine "$out/fp32.engine" --explain
"$eutectic" lower --diff "$out/fp32.engine" "$out/int8.engine" || test $? = 1

# The same model on the CPU; `--backend cuda` runs it on a GPU.
"$eutectic" run "$out/optimized.onnx" --input "image=$out/input.npy"
