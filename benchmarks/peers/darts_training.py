"""One darts RNNModel for each series: seconds to train it and its one-step error.

usage: python darts_training.py < request.json > answer.json

The request holds `history` and `later` (a list of samples for each series, null where there is
none), and `options` for RNNModel. The answer holds, for each series, the CPU seconds of a fit in
one thread and the root mean square error over `later`, one sample ahead.
"""

import json
import logging
import sys
import time
import warnings

import numpy as np
import torch
from darts import TimeSeries
from darts.models import RNNModel

QUIET = {"accelerator": "cpu", "enable_progress_bar": False, "logger": False}


def filled(values: np.ndarray) -> np.ndarray:
    known = np.flatnonzero(~np.isnan(values))
    return np.interp(np.arange(len(values)), known, values[known])


def measure(history: np.ndarray, later: np.ndarray, options: dict) -> tuple[float, float]:
    centre, scale = np.nanmean(history), np.nanstd(history)
    whole = filled((np.concatenate([history, later]) - centre) / scale).astype(np.float32)
    model = RNNModel(
        model="LSTM",
        random_state=0,
        pl_trainer_kwargs=QUIET | {"enable_model_summary": False, "enable_checkpointing": False},
        **options,
    )
    began = time.process_time()
    model.fit(TimeSeries.from_values(whole[: len(history)]))
    seconds = time.process_time() - began
    said = model.historical_forecasts(
        TimeSeries.from_values(whole),
        start=len(history),
        start_format="position",
        forecast_horizon=1,
        retrain=False,
        verbose=False,
    )
    residual = said.values()[:, 0] * scale + centre - later
    return seconds, float(np.sqrt(np.nanmean(residual**2)))


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    request = json.load(sys.stdin)
    history, later = (np.array(request[key], dtype=float) for key in ("history", "later"))
    results = [measure(*pair, request["options"]) for pair in zip(history, later, strict=True)]
    json.dump(
        {"seconds": [one for one, _ in results], "error": [one for _, one in results]}, sys.stdout
    )


if __name__ == "__main__":
    main()
