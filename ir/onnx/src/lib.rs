//! ONNX files in and out, under stated budgets.
