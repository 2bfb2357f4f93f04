//! Lowers a model to a TensorRT network and builds its engine.
