//! What a backend is: compile a model, run it, list what ran.
