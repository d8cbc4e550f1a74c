"""darts' ForecastingAnomalyModel with a linear model or an LSTM, one sample ahead.

usage: PATH darts_detection.py {LinearRegressionModel,RNNModel} DATA OUT

See `recordings.py`. Values are scaled by the train part, models see the last 32 samples and have
darts' defaults otherwise; the score is the absolute error of the forecast and an alarm is above
its 0.999 quantile in the train part. darts wants a regular index, so it is that of the rows.
"""

import logging
import warnings

import numpy as np
import torch
from darts import TimeSeries
from darts.ad import ForecastingAnomalyModel, NormScorer, QuantileDetector
from darts.dataprocessing.transformers import Scaler
from darts.models import LinearRegressionModel, RNNModel
from darts.models.forecasting.forecasting_model import GlobalForecastingModel
from recordings import Judge, Rows, Verdicts, main

LAGS = 32
QUANTILE = 0.999
TRAINER = {
    "accelerator": "cpu",
    "enable_checkpointing": False,
    "enable_model_summary": False,
    "enable_progress_bar": False,
    "logger": False,
}


def anomaly_model(forecaster: GlobalForecastingModel, history: Rows) -> Judge:
    scaler = Scaler()
    series = scaler.fit_transform(TimeSeries.from_values(history.values.astype(np.float32)))
    model = ForecastingAnomalyModel(model=forecaster, scorer=NormScorer(ord=1))
    model.fit(series, allow_model_training=True)
    detector = QuantileDetector(high_quantile=QUANTILE)
    detector.fit(model.score(series))

    def judge(later: Rows) -> Verdicts:
        whole = np.concatenate([history.values[-LAGS:], later.values]).astype(np.float32)
        scores = model.score(scaler.transform(TimeSeries.from_values(whole)))
        anomalous = detector.detect(scores)
        return Verdicts(scores.values()[:, 0], anomalous.values()[:, 0] > 0)

    return judge


def linear(history: Rows) -> Judge:
    return anomaly_model(LinearRegressionModel(lags=LAGS), history)


def recurrent(history: Rows) -> Judge:
    forecaster = RNNModel(
        model="LSTM",
        input_chunk_length=LAGS,
        training_length=2 * LAGS,
        random_state=0,
        pl_trainer_kwargs=TRAINER,
    )
    return anomaly_model(forecaster, history)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    main("darts", {"LinearRegressionModel": linear, "RNNModel": recurrent})
