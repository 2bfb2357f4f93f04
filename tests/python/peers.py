"""Counts nodes after the other optimizers: ``python tests/python/peers.py EUTECTIC MODELS -o TABLE.tsv``.

EUTECTIC is the program; MODELS a folder of ``*.onnxtxt`` or ``*.onnx``. The others are those of ``tests/requirements-peers.txt``, each run
as its documentation says for everyday use. A line of the table is a model; ``#`` lines at the top
give the versions. A count is of the calls of the main graph, constants apart. Behind it stands

- ``*`` when the result calls operators of another domain than ONNX's own, or functions,
- ``!`` when ONNX Runtime, without optimization, gets other outputs than from the original (with ``--check``),

and ``-`` stands for an optimizer that failed, or took longer than ``--seconds``. Rows that the table has already are kept, so
that a run can go on where one stopped; ``--only`` selects models by how their names begin, ``--ours`` renews our counts alone.
"""

import argparse
import importlib.metadata
import multiprocessing
import pathlib
import subprocess
import sys
import tempfile

TOLERANCE = 1e-3
"""Largest difference from the original's outputs, relative to the largest magnitude of each output."""

PACKAGES = ["onnx", "onnxruntime", "onnxsim", "onnxslim", "onnxoptimizer", "onnxscript"]


def onnxsim(before, after):
    import onnx
    import onnxsim

    model, _ = onnxsim.simplify(onnx.load(before))
    onnx.save(model, after)


def onnxslim(before, after):
    import onnx
    import onnxslim

    onnx.save(onnxslim.slim(onnx.load(before)), after)


def onnxoptimizer(before, after):
    import onnx
    import onnxoptimizer

    onnx.save(onnxoptimizer.optimize(onnx.load(before)), after)


def onnxscript(before, after):
    import onnx
    import onnxscript.optimizer
    import onnxscript.rewriter

    onnx.save(onnxscript.rewriter.rewrite(onnxscript.optimizer.optimize(onnx.load(before))), after)


def onnxruntime(level, before, after):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.optimized_model_filepath = str(after)
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    onnxruntime.InferenceSession(before, options, providers=["CPUExecutionProvider"])


def ort_basic(before, after):
    import onnxruntime as ort

    onnxruntime(ort.GraphOptimizationLevel.ORT_ENABLE_BASIC, before, after)


def ort_extended(before, after):
    import onnxruntime as ort

    onnxruntime(ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED, before, after)


PEERS = {"onnxsim": onnxsim, "onnxslim": onnxslim, "onnxoptimizer": onnxoptimizer, "ort basic": ort_basic,
         "ort extended": ort_extended, "onnxscript": onnxscript}

OURS = {"standard": "onnx", "fused": "portable"}
"""Our two columns, and the target of each: ONNX's own operators, and fused ones as functions."""


def count(path):
    """Calls of the main graph, and whether one is of another domain than ONNX's."""
    import onnx

    nodes = [node for node in onnx.load(path, load_external_data=False).graph.node if node.op_type != "Constant"]
    return len(nodes), any(node.domain not in ("", "ai.onnx") for node in nodes)


def outputs_of(path):
    """Outputs on seeded inputs, with every symbolic dim 2; ONNX Runtime optimizes nothing."""
    import numpy
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    random, feeds = numpy.random.default_rng(0), {}
    names = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16",
             "tensor(int64)": "int64", "tensor(int32)": "int32", "tensor(int8)": "int8", "tensor(uint8)": "uint8",
             "tensor(bool)": "bool"}
    for given in session.get_inputs():
        shape = [dim if isinstance(dim, int) else 2 for dim in given.shape]
        element = numpy.dtype(names[given.type])
        drawn = random.standard_normal(shape) if element.kind == "f" else random.integers(0, 2, shape)
        feeds[given.name] = numpy.asarray(drawn).astype(element)
    return session.run(None, feeds)


def differ(before, after):
    """Whether outputs differ; a model that ONNX Runtime cannot run tells nothing."""
    import numpy

    try:
        wanted = outputs_of(before)
    except Exception:
        return False
    try:
        found = outputs_of(after)
    except Exception:
        return True
    for a, b in zip(wanted, found, strict=True):
        if a.shape != b.shape or a.dtype != b.dtype:
            return True
        a, b = a.astype(numpy.float64), b.astype(numpy.float64)
        if a.size and not numpy.allclose(a, b, rtol=0, atol=TOLERANCE * max(numpy.abs(a).max(), 1e-30), equal_nan=True):
            return True
    return False


def child(pipe):
    """Serves cells: which peer, from where, to where, whether outputs are compared."""
    while True:
        name, before, after, check = pipe.recv()
        try:
            PEERS[name](before, after)
            n_nodes, is_foreign = count(after)
            cell = f"{n_nodes}{'*' * is_foreign}{'!' * (check and differ(before, after))}"
        except Exception:
            cell = "-"
        pipe.send(cell)


class Peers:
    """A child process that runs the other optimizers, since some end the process on an error of theirs."""

    def __init__(self):
        self.process = None

    def cell(self, seconds, *asked):
        if self.process is None:
            context = multiprocessing.get_context("spawn")
            self.pipe, end = context.Pipe()
            self.process = context.Process(target=child, args=(end,), daemon=True)
            self.process.start()
            end.close()
        self.pipe.send(asked)
        try:
            if self.pipe.poll(seconds):
                return self.pipe.recv()
        except EOFError:
            pass
        self.process.kill()
        self.process.join()
        self.process = None
        return "-"


def ours(program, target, before, after):
    command = [program, "optimize", before, "-o", after, "--target", target, "--certify", "none"]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    return str(count(after)[0])


def rows_of(table):
    """The rows that a table has, by model."""
    if not table.exists():
        return {}
    lines = [line for line in table.read_text().splitlines() if line and not line.startswith("#")]
    columns = lines[0].split("\t")
    return {cells[0]: dict(zip(columns, cells)) for cells in (line.split("\t") for line in lines[1:])}


def write(table, rows):
    columns = ["model", "before", *PEERS, *OURS]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    lines = ["# Calls of the main graph before and after each optimizer. Written by tests/python/peers.py, which says what the marks mean.",
             f"# {versions}", "\t".join(columns)]
    lines += ["\t".join(rows[name][column] for column in columns) for name in sorted(rows)]
    table.write_text("\n".join(lines) + "\n")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("program", type=pathlib.Path)
    arguments.add_argument("models", type=pathlib.Path)
    arguments.add_argument("-o", "--output", type=pathlib.Path, required=True)
    arguments.add_argument("--only", nargs="+", default=[""])
    arguments.add_argument("--check", action="store_true")
    arguments.add_argument("--ours", action="store_true")
    arguments.add_argument("--seconds", type=float, default=120)
    given = arguments.parse_args()
    rows, peers = rows_of(given.output), Peers()
    with tempfile.TemporaryDirectory() as folder:
        before, after = (str(pathlib.Path(folder) / name) for name in ("before.onnx", "after.onnx"))
        for path in sorted([*given.models.glob("*.onnxtxt"), *given.models.glob("*.onnx")]):
            if not path.stem.startswith(tuple(given.only)) or (path.stem in rows and not given.ours):
                continue
            if path.suffix == ".onnx":
                before = str(path)
            else:
                subprocess.run([given.program, "convert", path, before], check=True, capture_output=True)
            row = rows.get(path.stem) or {"model": path.stem, "before": str(count(before)[0])}
            for name, target in OURS.items():
                row[name] = ours(given.program, target, before, after)
            for name in PEERS:
                row[name] = row.get(name) or peers.cell(given.seconds, name, before, after, given.check)
            rows[path.stem] = row
            print("\t".join(row.values()), flush=True)
            write(given.output, rows)


if __name__ == "__main__":
    sys.exit(main())
