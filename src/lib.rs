//! Eutectic: ONNX in, named rewrite rules through e-graphs, TensorRT and CUDA out.
