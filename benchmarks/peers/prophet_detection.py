"""Prophet fitted to the train part, with an alarm outside of its interval of width 0.999.

usage: PATH prophet_detection.py Prophet DATA OUT

See `recordings.py`. All else is as Prophet has it. The score is the distance from the forecast in
units of that of the bound on the same side.
"""

import logging

import numpy as np
import pandas as pd
from prophet import Prophet
from recordings import Judge, Rows, Values, Verdicts, main

WIDTH = 0.999
TINY = 1e-12


def moments(times: Values) -> pd.DatetimeIndex:
    return pd.to_datetime(times, unit="s")


def prophet(history: Rows) -> Judge:
    # The interval is drawn by chance.
    np.random.seed(0)
    model = Prophet(interval_width=WIDTH)
    model.fit(pd.DataFrame({"ds": moments(history.times), "y": history.values}))

    def judge(later: Rows) -> Verdicts:
        # Rows of a recording may repeat a time or go back, but forecasts come sorted by time.
        times, places = np.unique(later.times, return_inverse=True)
        said = model.predict(pd.DataFrame({"ds": moments(times)}))
        expected, lower, upper = (
            said[name].to_numpy()[places] for name in ("yhat", "yhat_lower", "yhat_upper")
        )
        away = later.values - expected
        room = np.where(away > 0, upper - expected, expected - lower)
        scores = np.abs(away) / np.maximum(room, TINY)
        return Verdicts(scores, (later.values < lower) | (later.values > upper))

    return judge


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    main("prophet", {"Prophet": prophet})
