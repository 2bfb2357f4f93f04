"""Optima of the extraction gym by another solver: HiGHS on the whole integer program, cycles cut off as they appear.

    pip install highspy scipy
    python passes/tests/gym/optima.py GYM_DIRECTORY SECONDS passes/tests/gym/optima.tsv

One line an e-graph: its path, the cost of the best acyclic choice with sharing counted once, a lower bound, and whether
the solver proved the choice optimal within SECONDS. Nothing is reduced beforehand, so that the only thing in common with
the extractor under test is the problem.
"""

import json
import sys
import time
from collections import defaultdict
from pathlib import Path

import highspy
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components


def read(path):
    """Classes as lists of (cost, child classes); the last class is the root."""
    data = json.loads(path.read_text())
    nodes = data["nodes"]
    names = list(dict.fromkeys(node["eclass"] for node in nodes.values()))
    number = {name: at for at, name in enumerate(names)}
    classes = [[] for _ in names]
    for node in nodes.values():
        children = {number[nodes[child]["eclass"]] for child in node["children"]}
        classes[number[node["eclass"]]].append((float(node["cost"]), children))
    classes.append([(0.0, {number[name] for name in data["root_eclasses"]})])
    return classes


def cycles(classes, chosen):
    """Sets of chosen classes, needed by the root, that need each other in a cycle."""
    graph, stack = {}, [len(classes) - 1]
    while stack:
        klass = stack.pop()
        if klass not in graph:
            graph[klass] = sorted(classes[klass][chosen[klass]][1])
            stack.extend(graph[klass])
    rows = [(klass, child) for klass, children in graph.items() for child in children]
    matrix = coo_matrix((np.ones(len(rows)), tuple(np.array(rows).T)), shape=(len(classes), len(classes)))
    _, labels = connected_components(matrix, connection="strong")
    members = defaultdict(list)
    for klass in graph:
        members[labels[klass]].append(klass)
    return [group for group in members.values() if len(group) > 1], graph


def solve(classes, seconds):
    deadline = time.time() + seconds
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    highs.setOptionValue("threads", 1)
    highs.setOptionValue("mip_rel_gap", 0.0)
    highs.setOptionValue("mip_abs_gap", 0.0)
    inf = highspy.kHighsInf
    first, n = [], 0
    for candidates in classes:
        first.append(n)
        for cost, _ in candidates:
            highs.addVar(0.0, 1.0)
            highs.changeColCost(n, cost)
            highs.changeColIntegrality(n, highspy.HighsVarType.kInteger)
            n += 1
    row = lambda low, high, terms: highs.addRow(low, high, len(terms), np.array(list(terms), dtype=np.int32), np.array(list(terms.values()), dtype=float))
    columns = lambda klass: range(first[klass], first[klass] + len(classes[klass]))
    for klass, candidates in enumerate(classes):
        is_root = klass == len(classes) - 1
        row(1.0 if is_root else 0.0, 1.0, {at: 1.0 for at in columns(klass)})
        needs = defaultdict(list)
        for at, (_, children) in zip(columns(klass), candidates):
            if klass in children:
                highs.changeColBounds(at, 0.0, 0.0)
                continue
            for child in children:
                needs[child].append(at)
        for child, readers in needs.items():
            terms = {at: 1.0 for at in columns(child)}
            terms.update({at: -1.0 for at in readers})
            row(0.0, inf, terms)
    while True:
        # The clock of the solver runs on over its runs.
        highs.setOptionValue("time_limit", highs.getRunTime() + max(1.0, deadline - time.time()))
        highs.run()
        info = highs.getInfo()
        bound = info.mip_dual_bound
        if info.primal_solution_status != 2:
            return None, bound, False
        values = np.array(highs.getSolution().col_value)
        chosen = {k: next((i for i, at in enumerate(columns(k)) if values[at] > 0.5), None) for k in range(len(classes))}
        groups, needed = cycles(classes, chosen)
        if not groups:
            cost = sum(classes[klass][chosen[klass]][0] for klass in sorted(needed))
            return cost, bound, highs.getModelStatus() == highspy.HighsModelStatus.kOptimal
        # A class of the set is needed only as far as the set takes candidates that need nothing of it.
        for group in groups:
            inside = set(group)
            outward = [at for k in group for at, (_, needs) in zip(columns(k), classes[k]) if not needs & inside]
            for klass in group:
                terms = defaultdict(float)
                for at in outward:
                    terms[at] += 1.0
                for at in columns(klass):
                    terms[at] -= 1.0
                row(0.0, inf, {at: factor for at, factor in terms.items() if factor})
        if time.time() > deadline:
            return None, bound, False


def main():
    base, seconds = Path(sys.argv[1]), float(sys.argv[2])
    # The solver writes on standard output.
    table = open(sys.argv[3], "w")
    print("file\tbest\tbound\toptimal", file=table)
    for path in sorted(base.glob("*/*.json"), key=lambda path: (path.stat().st_size, path)):
        began = time.time()
        classes = read(path)
        if any(cost < 0 for candidates in classes for cost, _ in candidates):
            # A reward for what is chosen is not a cost; the extractors refuse it.
            continue
        best, bound, optimal = solve(classes, seconds)
        print(f"{path.relative_to(base)}\t{best!r}\t{bound!r}\t{'yes' if optimal else 'no'}", file=table, flush=True)
        print(f"{path.relative_to(base)}: {time.time() - began:.1f} s", file=sys.stderr, flush=True)


main()
