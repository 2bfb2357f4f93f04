"""Runs models by ONNX Runtime: a line of JSON for each request, a line of JSON for each answer.

The first answer says whether ONNX Runtime is there. A request names a model, files of NumPy arrays for its inputs, and files for
its outputs, in their order.
"""

import json
import sys


def answer(value):
    print(json.dumps(value), flush=True)


try:
    import numpy
    import onnxruntime
except ImportError as error:
    answer({"error": str(error)})
    sys.exit(1)

answer({"version": onnxruntime.__version__})
options = onnxruntime.SessionOptions()
options.log_severity_level = 4
for line in sys.stdin:
    request = json.loads(line)
    try:
        session = onnxruntime.InferenceSession(request["model"], options, providers=["CPUExecutionProvider"])
        feeds = {name: numpy.load(path) for name, path in request["inputs"].items()}
        for path, output in zip(request["outputs"], session.run(None, feeds)):
            numpy.save(path, numpy.ascontiguousarray(output) if output.ndim else output)
        answer({})
    except Exception as error:  # Whatever it is, it is what ONNX Runtime makes of the model.
        answer({"error": str(error)})
