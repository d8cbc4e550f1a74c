"""pyod's IForest and ECOD on windows of 32 samples.

usage: PATH pyod_detection.py {IForest,ECOD} DATA OUT

See `recordings.py`. All else is as pyod has it, with a contamination of 0.001: an alarm above the
0.999 quantile of scores in the train part. A window ends at the row it is a score of.
"""

import numpy as np
from pyod.models.base import BaseDetector
from pyod.models.ecod import ECOD
from pyod.models.iforest import IForest
from recordings import Judge, Rows, Verdicts, main, windows

WINDOW = 32
CONTAMINATION = 0.001


def learned(model: BaseDetector, history: Rows) -> BaseDetector:
    return model.fit(windows(history.values[:WINDOW], history.values[WINDOW:], WINDOW))


def isolation_forest(history: Rows) -> Judge:
    model = learned(IForest(contamination=CONTAMINATION, random_state=0), history)

    def judge(later: Rows) -> Verdicts:
        scores = model.decision_function(windows(history.values, later.values, WINDOW))
        return Verdicts(scores, scores > model.threshold_)

    return judge


def ecod(history: Rows) -> Judge:
    model = learned(ECOD(contamination=CONTAMINATION), history)

    def judge(later: Rows) -> Verdicts:
        # It ranks rows among all that it is given, so several at once would see those after them.
        scores = np.concatenate(
            [
                model.decision_function(one[None])
                for one in windows(history.values, later.values, WINDOW)
            ]
        )
        return Verdicts(scores, scores > model.threshold_)

    return judge


if __name__ == "__main__":
    main("pyod", {"IForest": isolation_forest, "ECOD": ecod})
