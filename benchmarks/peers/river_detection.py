"""river's HalfSpaceTrees and GaussianScorer as its documentation shows them.

usage: PATH river_detection.py {HalfSpaceTrees,GaussianScorer} DATA OUT

See `recordings.py`. Both look at one sample at a time, and go on learning in the test part from
what they did not call an anomaly. The trees look at values scaled to what was seen so far, with an
alarm above the 0.999 quantile of all scores so far; the Gaussian at those of the last seven days,
with an alarm where less than 0.001 of it is farther out.
"""

import numpy as np
from recordings import Judge, Rows, Verdicts, main
from river import anomaly, compose, preprocessing

QUANTILE = 0.999
WEEK = 7 * 86400


def half_space_trees(history: Rows) -> Judge:
    model = compose.Pipeline(
        preprocessing.MinMaxScaler(),
        anomaly.QuantileFilter(anomaly.HalfSpaceTrees(seed=42), q=QUANTILE),
    )
    alarm = model["QuantileFilter"].classify
    for value in history.values.tolist():
        model.learn_one({"value": value})

    def judge(later: Rows) -> Verdicts:
        scores, anomalous = [], []
        for value in later.values.tolist():
            score = model.score_one({"value": value})
            scores.append(score)
            anomalous.append(alarm(score))
            model.learn_one({"value": value})
        return Verdicts(np.array(scores), np.array(anomalous))

    return judge


def gaussian_scorer(history: Rows) -> Judge:
    week = round(WEEK / np.median(np.diff(history.times)))
    model = anomaly.ThresholdFilter(
        anomaly.GaussianScorer(window_size=week, grace_period=30), threshold=QUANTILE
    )
    for value in history.values.tolist():
        model.learn_one(None, value)

    def judge(later: Rows) -> Verdicts:
        scores, anomalous = [], []
        for value in later.values.tolist():
            score = model.score_one(None, value)
            scores.append(score)
            anomalous.append(model.classify(score))
            model.learn_one(None, value)
        return Verdicts(np.array(scores), np.array(anomalous))

    return judge


if __name__ == "__main__":
    main("river", {"HalfSpaceTrees": half_space_trees, "GaussianScorer": gaussian_scorer})
