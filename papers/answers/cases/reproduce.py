"""Run each case of this folder through the optimizer that its name begins with, in a process of its own, and print what becomes of it.

usage: reproduce.py [CASE...]

A case is a model in ONNX's textual syntax that computes another answer after optimization, or whose optimization ends the
process. The exit code is 1 when a case is not what `EXPECTED` says any more.
"""

import subprocess
import sys
from pathlib import Path

EXPECTED = {
    "onnxoptimizer_reshape_of_reshape": "another answer",
    "onnxoptimizer_if_constant": "crashed",
    "onnxoptimizer_shape_of_nothing": "crashed",
    "onnxscript_castlike_no_saturate": "another answer",
}
HERE = Path(__file__).resolve().parent


def outputs(model):
    import numpy
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feeds = {}
    for port in session.get_inputs():
        feeds[port.name] = numpy.arange(numpy.prod(port.shape), dtype=numpy.float32).reshape(port.shape)
    return session.run(None, feeds)


def one(case):
    """What becomes of one case, in this process."""
    import numpy
    import onnx

    model = onnx.parser.parse_model((HERE / f"{case}.onnxtxt").read_text())
    onnx.checker.check_model(model)
    before = outputs(model)
    if case.startswith("onnxscript_"):
        from onnxscript import optimizer

        optimized = optimizer.optimize(model)
    else:
        import onnxoptimizer

        optimized = onnxoptimizer.optimize(model)
    after = outputs(optimized)
    same = all(numpy.array_equal(a, b, equal_nan=True) for a, b in zip(before, after, strict=True))
    print(f"before:\n{before}\nafter:\n{after}\n{'the same answer' if same else 'another answer'}")


def main():
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2])
        return
    differs = False
    for case in sys.argv[1:] or EXPECTED:
        done = subprocess.run([sys.executable, __file__, "--one", case], capture_output=True, text=True)
        found = "crashed" if done.returncode < 0 else (done.stdout.splitlines() or [done.stderr[-300:]])[-1]
        print(f"{case}: {found}\n{done.stdout}")
        differs |= found != EXPECTED[case]
    sys.exit(int(differs))


if __name__ == "__main__":
    main()
