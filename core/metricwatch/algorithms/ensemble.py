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
from metricwatch.algorithms.changes import Jumps, Steps
from metricwatch.algorithms.isolation_forest import ISOLATION_FOREST
from metricwatch.algorithms.kmeans import KMEANS
from metricwatch.algorithms.lstm import LSTM
from metricwatch.algorithms.robust import spread
from metricwatch.algorithms.seasonal import SEASONAL
from metricwatch.algorithms.subspace_pca import SUBSPACE_PCA
from metricwatch.algorithms.window_sums import WindowSums
from metricwatch.resources.algorithm import EnsembleParameters
from metricwatch.resources.schema import ApiModel
from metricwatch.resources.training import Scaling
from metricwatch.series import Grid

MEMBERS: Mapping[str, Family] = MappingProxyType(
    {
        family.name: family
        for family in (AUTOREGRESSIVE, LSTM, SEASONAL, SUBSPACE_PCA, ISOLATION_FOREST, KMEANS)
    }
)
"""In the order of their streams; the first one that is on says what was expected."""

DIFFERENCE = Stream("difference", Horizon.SHORT, signed=True, in_units=True)
LEVEL = Stream("level", Horizon.LONG, signed=True, in_units=True)
SEASONAL_SUM = Stream("seasonal_sum", Horizon.LONG, signed=True, in_units=True)

_SEASONAL_WIDTH = 24
_MOST_SPREADS = 20.0
_STEPS_WARMUP = 200
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
        """Returns what each member votes with, rows in the order of `_together`."""
        streams: list[Stream] = []
        for name, bank in self._members.items():
            weight = self._weights.get(name, 1.0)
            if not streams:
                streams.append(replace(RESIDUAL, weight=0.0 if name == "seasonal" else weight))
            elif (
                name not in ("seasonal", "subspacePca") and residual_row(bank.streams) is not None
            ):
                own = replace(RESIDUAL, name=f"{name}.residual")
                streams.append(replace(own, weight=weight))
            if name == "seasonal":
                streams.append(replace(SEASONAL_SUM, weight=weight))
            streams += [
                replace(one, name=f"{name}.{one.name}", weight=weight)
                for one in bank.streams
                if one.horizon is Horizon.LONG
            ]
        if not streams:
            streams.append(replace(RESIDUAL, weight=0.0))
        plain = {_PERSISTENCE: DIFFERENCE, _LEVEL: LEVEL}
        streams += [replace(plain[n], weight=self._weights.get(n, 1.0)) for n in self._plain]
        return streams

    def _together(
        self, times: NDArray[np.int64], values: FloatArray, said: Mapping[str, Prediction]
    ) -> Prediction:
        """Returns the members' predictions of [S, T] ticks as one, evidence [K, S, T]."""
        jump, before = self._jumps.run(values)
        first = next(iter(said.values()), None)
        expected = before if first is None else _as_ticks(first.expected, values)
        rows: list[FloatArray] = [values - expected]
        for number, (name, prediction) in enumerate(said.items()):
            bank = self._members[name]
            residual = _as_ticks(prediction.residual, values)
            votes = number and name not in ("seasonal", "subspacePca")
            if votes and residual_row(bank.streams) is not None:
                rows.append(residual)
            if name == "seasonal":
                rows.append(self._seasonal_sum(residual))
            evidence = prediction.evidence
            evidence = evidence[..., None] if evidence.ndim == 2 else evidence
            rows += [
                evidence[row]
                for row, one in enumerate(bank.streams)
                if one.horizon is Horizon.LONG
            ]
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


def _as_ticks(said: FloatArray, values: FloatArray) -> FloatArray:
    """Returns [S] of one step, or [S, T] of a backtest, as [S, T]."""
    return said.reshape(values.shape)


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
    if not isinstance(given, dict) or not given.keys() <= MEMBERS.keys():
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
    """Returns what the member asks for that asks for most."""
    own = own_parameters(EnsembleParameters, parameters)
    asked = [f.minimum_samples(None) for n, f in MEMBERS.items() if getattr(own, to_snake(n))]
    return max(asked, default=3)


ENSEMBLE = Family(
    name="ensemble",
    parameters=EnsembleParameters,
    fit=fit,
    restore=restore,
    minimum_samples=minimum_samples,
)
