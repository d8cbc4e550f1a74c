"""Several families vote on each sample: their streams side by side, calibrated apart.

The cheap members look at a series in ways that fail differently: against the sample before,
against a linear forecast, against the clock, against its ordinary shapes, against its recent
level. What one of them calls odd is no alert before others agree (`metricwatch.scoring`). Every
member is switched on or off by a flag, and has a weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic.alias_generators import to_snake

from metricwatch.algorithms.adaptive_threshold import ADAPTIVE_THRESHOLD
from metricwatch.algorithms.autoregressive import AUTOREGRESSIVE
from metricwatch.algorithms.base import (
    RESIDUAL,
    Bank,
    Family,
    FloatArray,
    Header,
    Horizon,
    Prediction,
    Report,
    ShouldStop,
    Stream,
    Tensors,
    check_history,
    own_parameters,
    residual_row,
    take_tensor,
)
from metricwatch.algorithms.changes import BLOCK, Jumps, Steps
from metricwatch.algorithms.isolation_forest import ISOLATION_FOREST
from metricwatch.algorithms.kmeans import KMEANS
from metricwatch.algorithms.lstm import LSTM
from metricwatch.algorithms.robust import spread
from metricwatch.algorithms.seasonal import SEASONAL
from metricwatch.algorithms.subspace_pca import SUBSPACE_PCA
from metricwatch.algorithms.tcn import TCN
from metricwatch.algorithms.window_sums import WindowSums
from metricwatch.resources.algorithm import EnsembleParameters
from metricwatch.resources.schema import ApiModel
from metricwatch.resources.training import Scaling
from metricwatch.series import Grid

MEMBERS: Mapping[str, Family] = MappingProxyType(
    {
        family.name: family
        for family in (
            AUTOREGRESSIVE,
            LSTM,
            TCN,
            SEASONAL,
            SUBSPACE_PCA,
            ADAPTIVE_THRESHOLD,
            ISOLATION_FOREST,
            KMEANS,
        )
    }
)
"""In the order of their streams; the first one that is on says what was expected."""

DIFFERENCE = Stream("difference", Horizon.SHORT, signed=True, in_units=True)
LEVEL = Stream("level", Horizon.LONG, signed=True, in_units=True, memory=BLOCK)
_SEASONAL_WIDTH = 24
SEASONAL_SUM = Stream(
    "seasonal_sum", Horizon.LONG, signed=True, in_units=True, memory=_SEASONAL_WIDTH
)

_MOST_SPREADS = 20.0
_STEPS_WARMUP = 200
_LEAST_SAMPLES = 48
_COARSE = ("seasonal", "subspacePca")
_PERSISTENCE = "difference"
_LEVEL = "level"


class EnsembleBank:
    """Banks of the same S series, and what is told without a model."""

    family = "ensemble"

    def __init__(
        self,
        members: Mapping[str, Bank],
        *,
        step: int,
        deviation: FloatArray,
        plain: tuple[str, ...],
        weights: Mapping[str, float],
    ) -> None:
        """Takes members over.

        Args:
            members: by family, in the order of `MEMBERS`.
            step: seconds between samples.
            deviation: float64[S], above 0, a robust standard deviation of the samples.
            plain: which of difference and level vote.
            weights: of the votes, by member.
        """
        self._members = dict(members)
        self._step = step
        self._deviation = deviation
        self._plain = plain
        self._weights = dict(weights)
        series = len(deviation)
        self._jumps = Jumps(series)
        self._steps = Steps(series, step=step)
        self._sums = WindowSums(series, (_SEASONAL_WIDTH,))
        self.streams = tuple(self._name_streams())

    @property
    def series(self) -> int:
        """S."""
        return len(self._deviation)

    @property
    def warmup(self) -> int:
        """What the member with the longest memory asks for."""
        return max([_STEPS_WARMUP, *(bank.warmup for bank in self._members.values())])

    def step(self, time: int, values: FloatArray) -> Prediction:
        """Advances all series by one tick."""
        said = {name: bank.step(time, values) for name, bank in self._members.items()}
        prediction = self._together(np.array([time]), values[:, None], said)
        return Prediction(
            prediction.expected[:, 0], prediction.residual[:, 0], prediction.evidence[..., 0]
        )

    def backtest(self, grid: Grid, values: FloatArray) -> Prediction:
        """Returns what one step for each tick gives."""
        check_history(values, grid)
        said = {name: bank.backtest(grid, values) for name, bank in self._members.items()}
        return self._together(grid.timestamps(), values, said)

    def header(self) -> dict[str, Any]:
        """Returns who is a member, and each member's own header."""
        return {
            "step": self._step,
            "plain": list(self._plain),
            "weights": self._weights,
            "members": {name: bank.header() for name, bank in self._members.items()},
        }

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Returns the members' parameters, each under the member's name."""
        parts = {
            f"{name}.{key}": tensor
            for name, bank in self._members.items()
            for key, tensor in bank.tensors().items()
        }
        return {"deviation": self._deviation, **parts}

    @property
    def shared_tensors(self) -> frozenset[str]:
        """Tensors of members that all series share."""
        return frozenset(
            f"{name}.{key}"
            for name, bank in self._members.items()
            for key in getattr(bank, "shared_tensors", ())
        )

    def _name_streams(self) -> list[Stream]:
        """Returns the streams in the order of the rows: lead, members, what needs no model."""
        lead, bank = next(iter(self._members.items()), ("", None))
        votes = bank is not None and lead != "seasonal" and residual_row(bank.streams) is not None
        streams = [replace(RESIDUAL, weight=self._weights.get(lead, 1.0) if votes else 0.0)]
        for name, row in self._rows():
            own = SEASONAL_SUM if row is None else self._members[name].streams[row]
            named = own.name if row is None else f"{name}.{own.name}"
            streams.append(replace(own, name=named, weight=self._weights.get(name, 1.0)))
        plain = {_PERSISTENCE: DIFFERENCE, _LEVEL: LEVEL}
        streams += [replace(plain[n], weight=self._weights.get(n, 1.0)) for n in self._plain]
        return streams

    def _rows(self) -> list[tuple[str, int | None]]:
        """Returns which streams of which member vote; None stands for the sum over its residual.

        The lead's own residual is the first stream already. What the clock leaves, and what a
        subspace forecasts, is too coarse to be held against a single sample.
        """
        rows: list[tuple[str, int | None]] = []
        for number, (name, bank) in enumerate(self._members.items()):
            if name == "seasonal":
                rows.append((name, None))
            residual = residual_row(bank.streams)
            for row, stream in enumerate(bank.streams):
                coarse = name in _COARSE and stream.horizon is Horizon.SHORT
                if not coarse and (number or row != residual):
                    rows.append((name, row))
        return rows

    def _together(
        self, times: NDArray[np.int64], values: FloatArray, said: Mapping[str, Prediction]
    ) -> Prediction:
        """Returns the members' predictions of [S, T] ticks as one, evidence [K, S, T]."""
        jump, before = self._jumps.run(values)
        first = next(iter(said.values()), None)
        expected = before if first is None else first.expected.reshape(values.shape)
        rows: list[FloatArray] = [values - expected]
        for name, row in self._rows():
            prediction = said[name]
            if row is None:
                rows.append(self._seasonal_sum(prediction.residual.reshape(values.shape)))
            else:
                rows.append(prediction.evidence[row].reshape(values.shape))
        if _PERSISTENCE in self._plain:
            rows.append(jump)
        if _LEVEL in self._plain:
            rows.append(self._steps.run(times, values))
        return Prediction(expected=expected, residual=rows[0], evidence=np.stack(rows))

    def _seasonal_sum(self, residual: FloatArray) -> FloatArray:
        most = _MOST_SPREADS * self._deviation[:, None]
        bounded = np.clip(residual, -most, most)
        sums = self._sums
        one = bounded.shape[1] == 1
        total = sums.step(bounded[:, 0])[0][:, None] if one else sums.run(bounded)[0]
        return np.where(np.isnan(residual), np.nan, total)


def fit(
    values: FloatArray,
    grid: Grid,
    parameters: ApiModel | None = None,
    *,
    scaling: Scaling = Scaling.ROBUST,
    seed: int = 0,
    labels: NDArray[np.bool_] | None = None,
    progress: Report | None = None,
    should_stop: ShouldStop | None = None,
) -> EnsembleBank:
    """Returns every member that is on, each fitted with its own defaults."""
    check_history(values, grid)
    own = own_parameters(EnsembleParameters, parameters)
    members = {
        name: family.fit(
            values,
            grid,
            scaling=scaling,
            seed=seed,
            labels=labels,
            progress=progress,
            should_stop=should_stop,
        )
        for name, family in MEMBERS.items()
        if getattr(own, to_snake(name))
    }
    deviation = spread(values)
    return EnsembleBank(
        members,
        step=grid.step,
        deviation=np.where(deviation > 0, deviation, 1.0),
        plain=tuple(name for name in (_PERSISTENCE, _LEVEL) if getattr(own, name)),
        weights=own.weights,
    )


def restore(header: Header, tensors: Tensors) -> EnsembleBank:
    """Returns the bank that `header` and `tensors` describe, with a fresh state.

    Raises:
        ValueError: they do not fit together.
    """
    step, plain = header.get("step"), header.get("plain")
    given, weights = header.get("members"), header.get("weights")
    if not isinstance(step, int) or step < 1:
        raise ValueError(f"step is {step!r}, expected whole seconds")
    if not isinstance(plain, list) or not {*map(str, plain)} <= {_PERSISTENCE, _LEVEL}:
        raise ValueError(f"plain is {plain!r}, expected difference and level at most")
    if (
        not isinstance(given, dict)
        or not given.keys() <= MEMBERS.keys()
        or not all(isinstance(one, dict) for one in given.values())
    ):
        raise ValueError("members are families that cannot be members")
    if not isinstance(weights, dict) or not all(
        isinstance(one, int | float) and one >= 0 for one in weights.values()
    ):
        raise ValueError(f"weights are {weights!r}, expected numbers of at least 0")
    members = {}
    for name, family in MEMBERS.items():
        if name in given:
            start = f"{name}."
            own = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
            members[name] = family.restore(given[name], own)
    series = len(tensors["deviation"]) if "deviation" in tensors else 0
    deviation = take_tensor(tensors, "deviation", (series,), np.float64)
    if (deviation <= 0).any() or {bank.series for bank in members.values()} - {series}:
        raise ValueError("members are not of the same series, or a deviation is not above 0")
    return EnsembleBank(
        members, step=step, deviation=deviation, plain=tuple(plain), weights=weights
    )


def minimum_samples(parameters: ApiModel | None = None) -> int:
    """Returns what voting takes; cheap members make do with less than they ask for alone.

    A network does not.
    """
    own = own_parameters(EnsembleParameters, parameters)
    asked = [f.minimum_samples(None) for n, f in MEMBERS.items() if getattr(own, to_snake(n))]
    return max(asked) if own.has_networks else _LEAST_SAMPLES


ENSEMBLE = Family(
    name="ensemble",
    parameters=EnsembleParameters,
    fit=fit,
    restore=restore,
    minimum_samples=minimum_samples,
)
