"""Writes `reference.json`: what SciPy, statsmodels and NumPy say of the samples that `reference.rs` uses.

    python -m venv v && v/bin/pip install numpy==2.4.6 scipy==1.17.1 statsmodels==0.15.0
    v/bin/python benches/measure/tests/reference.py > benches/measure/tests/reference.json
"""

import json

import numpy
import scipy.stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

SEED, MANY = 20261126, 200_000
generator = numpy.random.default_rng(SEED)


def resampled_medians(builds, n):
    """Medians under resampling of builds, then processes, then iterations; written apart from the Rust code, with NumPy."""
    medians = numpy.empty(n)
    for at in range(n):
        chosen = []
        for build in generator.integers(len(builds), size=len(builds)):
            processes = builds[build]
            for process in generator.integers(len(processes), size=len(processes)):
                chosen.append(generator.choice(processes[process], size=len(processes[process])))
        medians[at] = numpy.median(numpy.concatenate(chosen))
    return medians


def interval(values):
    return [float(end) for end in numpy.quantile(values, [0.025, 0.975])]


def flat():
    """One process: SciPy's own percentile bootstrap of a median."""
    samples = numpy.round(generator.lognormal(0.0, 0.2, 41), 4)
    found = scipy.stats.bootstrap(
        (samples,), numpy.median, n_resamples=MANY, batch=10_000, method="percentile", rng=generator
    ).confidence_interval
    return {"samples": samples.tolist(), "median": float(numpy.median(samples)), "interval": [found.low, found.high]}


def ratio():
    """Two independent variants of one process each: SciPy's percentile bootstrap of a ratio of medians."""
    slow = numpy.round(generator.lognormal(0.4, 0.1, 31), 4)
    fast = numpy.round(generator.lognormal(0.0, 0.15, 37), 4)
    found = scipy.stats.bootstrap(
        (slow, fast),
        lambda a, b, axis: numpy.median(a, axis=axis) / numpy.median(b, axis=axis),
        n_resamples=MANY, batch=10_000, method="percentile", rng=generator,
    ).confidence_interval
    value = float(numpy.median(slow) / numpy.median(fast))
    return {"slow": slow.tolist(), "fast": fast.tolist(), "ratio": value, "interval": [found.low, found.high]}


def nested():
    builds = [
        [numpy.round(1.0 + shift + other + generator.normal(0, 0.02, 12), 4).tolist() for other in generator.normal(0, 0.03, 5)]
        for shift in generator.normal(0, 0.04, 4)
    ]
    means = numpy.array([[numpy.mean(process) for process in build] for build in builds])
    within = numpy.mean([[numpy.var(process, ddof=1) for process in build] for build in builds])
    between = numpy.mean(numpy.var(means, axis=1, ddof=1))
    outer = numpy.var(means.mean(axis=1), ddof=1)
    # The balanced random-effects model of two nested factors, by the method of moments.
    spread = {"iterations": within, "processes": between - within / 12, "builds": outer - between / 5}
    spread = {name: float(numpy.sqrt(max(variance, 0))) for name, variance in spread.items()}
    return {"builds": builds, "interval": interval(resampled_medians(builds, 20_000)), "spread": spread}


def holm():
    p_values = [0.01, 0.04, 0.03, 0.005, 0.2, 0.0004, 0.6, 0.011]
    return {"p": p_values, "adjusted": multipletests(p_values, method="holm")[1].tolist()}


def shares():
    cases = [(0, 10), (3, 10), (10, 10), (19, 88), (1, 1256)]
    found = [[hits, n, *proportion_confint(hits, n, method="wilson")] for hits, n in cases]
    return [[float(x) for x in case] for case in found]


def warm_up():
    """The marginal standard error rule by its definition, for every cut up to half."""
    series = []
    for n, amplitude, decay in [(60, 0.5, 5.0), (60, 0.0, 1.0), (100, 2.0, 8.0), (80, 0.05, 3.0)]:
        at = numpy.arange(n)
        samples = numpy.round(1 + amplitude * numpy.exp(-at / decay) + generator.normal(0, 0.01, n), 5)
        errors = [numpy.sum((samples[cut:] - samples[cut:].mean()) ** 2) / (n - cut) ** 2 for cut in range(n // 2 + 1)]
        series.append({"samples": samples.tolist(), "end": int(numpy.argmin(errors))})
    return series


print(json.dumps({
    "flat": flat(), "ratio": ratio(), "nested": nested(), "holm": holm(), "shares": shares(), "warm_up": warm_up(),
}))
