"""What river does that a cheap family does, one sample of one series at a time.

    PATH benchmarks/river_peer.py [--seconds S]

PATH is the Python of an environment that has river. Prints samples per second of CPU time as JSON,
by the name of the family that does the same. Values are plain floats and ready; each sample is
scored against what was known before it and then learned from, as a detector does. There is nothing
like `subspacePca` in river.
"""

import argparse
import json
import math
import random
import time
from collections import deque
from collections.abc import Callable
from itertools import cycle, islice

from river import linear_model, preprocessing, stats

LAGS = 32
NODES = 288
STEP = 60
FADING = 0.0019
"""A half-life of six hours at a minute."""
CHUNK = 500
ROUNDS = 5
Scorer = Callable[[int, float], float]


def zscore() -> Scorer:
    """Returns a z-score from an exponentially weighted mean and variance."""
    mean, variance = stats.EWMean(FADING), stats.EWVar(FADING)

    def score(_: int, value: float) -> float:
        spread = math.sqrt(variance.get()) or 1.0
        away = (value - mean.get()) / spread
        mean.update(value)
        variance.update(value)
        return away

    return score


def adaptive_threshold() -> Scorer:
    """Returns the distance from a median in widths of either tail, by the P² algorithm."""
    low, middle, high = (stats.Quantile(share) for share in (0.05, 0.5, 0.95))

    def score(_: int, value: float) -> float:
        median = middle.get() or 0.0
        edge = (high.get() if value > median else low.get()) or 0.0
        away = (value - median) / (abs(edge - median) or 1.0)
        low.update(value)
        middle.update(value)
        high.update(value)
        return away

    return score


def seasonal() -> Scorer:
    """Returns the residual of a daily profile of exponentially weighted means."""
    bins = {index: stats.EWMean(0.1) for index in range(NODES)}
    level = stats.EWMean(FADING)

    def score(time_: int, value: float) -> float:
        phase = bins[time_ // (86400 // NODES) % NODES]
        residual = value - phase.get() - level.get()
        level.update(value - phase.get())
        phase.update(value - level.get())
        return residual

    return score


def autoregressive() -> Scorer:
    """Returns the residual of a linear regression on the latest samples."""
    model = preprocessing.StandardScaler() | linear_model.LinearRegression()
    names = [f"lag{index}" for index in range(LAGS)]
    recent = deque([0.0] * LAGS, maxlen=LAGS)

    def score(_: int, value: float) -> float:
        lags = dict(zip(names, recent, strict=True))
        residual = value - model.predict_one(lags)
        model.learn_one(lags, value)
        recent.append(value)
        return float(residual)

    return score


def rate(score: Scorer, seconds: float) -> float:
    """Returns samples per second of CPU time, the best of several rounds."""
    draw = random.Random(0)
    values = cycle([100 + 5 * draw.gauss(0, 1) for _ in range(4096)])
    at, best = 0, 0.0
    for _ in range(ROUNDS):
        count, began = 0, time.process_time()
        while time.process_time() - began < seconds:
            for value in islice(values, CHUNK):
                score(at, value)
                at += STEP
            count += CHUNK
        best = max(best, count / (time.process_time() - began))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.3)
    chosen = parser.parse_args()
    scorers = {
        "zscore": zscore(),
        "adaptiveThreshold": adaptive_threshold(),
        "seasonal": seasonal(),
        "autoregressive": autoregressive(),
    }
    print(json.dumps({name: rate(score, chosen.seconds) for name, score in scorers.items()}))


if __name__ == "__main__":
    main()
