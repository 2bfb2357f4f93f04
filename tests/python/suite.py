"""Writes ONNX's own backend tests as folders: the operator tests, which are Python, and those of the installed package.

``suite.py TARGET`` makes ``TARGET/<version>/<kind>/<case>/`` for the version of the installed package, each case with
``model.onnx``, ``test_data_set_*/{input,output}_*.pb`` and, where a case states a tolerance of its own,
``tolerance.json``; and ``TARGET/<version>/manifest.json`` with the versions that made it and one hash over all files. It
prints the folder of the version. A folder whose manifest and files agree is left as it is.

Operator tests draw their inputs when they are imported, from NumPy's global generator. ONNX seeds it before each test;
Python's own generator is seeded here. So a version gives the same files wherever NumPy computes the same.
"""

import hashlib
import json
import os
import pathlib
import random
import shutil
import sys
import warnings

import numpy
import onnx
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests, load_node_model_tests

KINDS_OF_PACKAGE = ["simple", "pytorch-converted", "pytorch-operator"]
# What ONNX's runner allows a case that says nothing.
RTOL, ATOL = 1e-3, 1e-7


def operator_tests():
    random.seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_node_model_tests()


def serialized(value, info):
    """The bytes of a test value, in the message that the declared type of ``info`` asks for."""
    if isinstance(value, onnx.TensorProto) and info.type.HasField("tensor_type"):
        return value.SerializeToString(deterministic=True)
    if info.type.HasField("sequence_type"):
        message = numpy_helper.from_list(value, info.name)
    elif info.type.HasField("optional_type"):
        message = numpy_helper.from_optional(value, info.name)
    elif info.type.HasField("map_type"):
        message = numpy_helper.from_dict(value, info.name)
    else:
        message = numpy_helper.from_array(numpy.asarray(value), info.name)
    return message.SerializeToString(deterministic=True)


def write_tolerance(folder, case):
    if (case.rtol, case.atol) != (RTOL, ATOL):
        text = json.dumps({"rtol": case.rtol, "atol": case.atol}, sort_keys=True) + "\n"
        (folder / "tolerance.json").write_text(text)


def write_operator_test(folder, case):
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(case.model.SerializeToString(deterministic=True))
    for at, (inputs, outputs) in enumerate(case.data_sets):
        data = folder / f"test_data_set_{at}"
        data.mkdir()
        for direction, values, infos in [
            ("input", inputs, case.model.graph.input),
            ("output", outputs, case.model.graph.output),
        ]:
            for index, value in enumerate(values):
                (data / f"{direction}_{index}.pb").write_bytes(serialized(value, infos[index]))
    write_tolerance(folder, case)


def write_suite(suite):
    for case in operator_tests():
        write_operator_test(suite / "node" / case.name, case)
    for kind in KINDS_OF_PACKAGE:
        for case in load_model_tests(kind=kind):
            folder = suite / kind / case.name
            shutil.copytree(case.model_dir, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__", "data.json"))
            write_tolerance(folder, case)


def fingerprint(suite):
    """One hash over the names and contents of all files, and how many cases and files there are."""
    digest, n_cases, n_files = hashlib.sha256(), 0, 0
    for path in sorted(suite.rglob("*")):
        name = path.relative_to(suite).as_posix()
        if path.is_file() and name != "manifest.json":
            content = path.read_bytes()
            digest.update(f"{name}\0{len(content)}\0".encode())
            digest.update(content)
            n_files += 1
            n_cases += path.name == "model.onnx"
    return {"sha256": digest.hexdigest(), "cases": n_cases, "files": n_files}


def made_by():
    script = hashlib.sha256(pathlib.Path(__file__).read_bytes()).hexdigest()
    return {"onnx": onnx.__version__, "numpy": numpy.__version__, "script": script}


def main(target):
    suite = pathlib.Path(target) / onnx.__version__
    manifest = suite / "manifest.json"
    wanted = made_by()
    if manifest.exists():
        found = json.loads(manifest.read_text())
        if found == wanted | fingerprint(suite):
            print(suite)
            return
    # Made beside its place and moved there whole, so that what an interruption leaves is never taken for a suite.
    making = suite.with_name(f"{suite.name}.{os.getpid()}")
    shutil.rmtree(making, ignore_errors=True)
    write_suite(making)
    text = json.dumps(wanted | fingerprint(making), indent=2, sort_keys=True) + "\n"
    (making / "manifest.json").write_text(text)
    shutil.rmtree(suite, ignore_errors=True)
    making.rename(suite)
    print(suite)


if __name__ == "__main__":
    main(sys.argv[1])
