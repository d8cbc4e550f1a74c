"""What every family of algorithms is to the rest of the house.

A *bank* holds S series of one family with their parameters stacked, and the state that carries
from one tick to the next. The unit of work is never one series: `step` advances all S by one tick,
and `backtest` gives exactly what so many steps give. Parameters are immutable after `fit`; the
state is the bank's own and is not stored, because a detector brings it up to date from the source.

A prediction for a tick uses samples before that tick only. A missing sample is NaN and leaves no
trace in the state but the passing of time.

What a bank finds odd about a sample is its *evidence*: one or more streams, such as a residual or
a distance, each in units of its own. `metricwatch.scoring` turns streams of any family into one
score.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, Self, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from metricwatch.resources.schema import ApiModel
from metricwatch.resources.training import Scaling
from metricwatch.series import Grid

FloatArray = NDArray[np.float64]
Tensors = Mapping[str, NDArray[Any]]
Header = Mapping[str, Any]
"""JSON values."""

P = TypeVar("P", bound=ApiModel)


class Horizon(StrEnum):
    """How many samples a stream of evidence looks at."""

    SHORT = "short"
    """The newest sample against what was expected of it: spikes and jumps."""
    LONG = "long"
    """Many samples together: shifts, drifts, changed shapes, none of which is odd by itself."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One kind of evidence that a bank gives at every tick.

    Attributes:
        name: such as residual or distance.
        horizon: how much it looks at.
        signed: below zero means that the samples were too low; otherwise only the size counts.
        in_units: it is in the unit of the samples, so that a step of their values is a step of it.
        weight: of its vote among streams of the same horizon.
        memory: of a long one, ticks for which one sample may show in it; 0 where that has no end.
    """

    name: str
    horizon: Horizon
    signed: bool
    in_units: bool = False
    weight: float = 1.0
    memory: int = 0


RESIDUAL = Stream("residual", Horizon.SHORT, signed=True, in_units=True)
"""value - expected: the only stream of a family that just forecasts."""


def residual_row(streams: Sequence[Stream]) -> int | None:
    """Returns the row of the evidence that is value - expected, None for a family without one."""
    return next((row for row, one in enumerate(streams) if one.name == RESIDUAL.name), None)


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What a bank expected, and how odd the samples were.

    Attributes:
        expected: float64[S] for a step, [S, T] for a backtest; NaN while a series is not warm. A
            family that measures distances says here what a person would call normal.
        residual: value - expected, the same shape; NaN where either is missing.
        evidence: float[K, S] or [K, S, T], a row for each of the bank's `streams`; larger in size
            is odder, in any unit that stays the same; NaN where nothing can be said. A bank of
            systems gives a column for each of its G systems instead of each series.
        blame: of a bank of systems: float[S] or [S, T], how much each series has to do with the
            evidence of its system, comparable within a system; larger is more.
    """

    expected: FloatArray
    residual: FloatArray
    evidence: FloatArray
    blame: FloatArray | None = None

    @classmethod
    def forecast(cls, expected: FloatArray, residual: FloatArray) -> Self:
        """Returns what a family says whose only stream is `RESIDUAL`."""
        return cls(expected=expected, residual=residual, evidence=residual[None])

    def part(self, ticks: slice) -> Prediction:
        """Returns what a backtest says of some of its ticks."""
        return Prediction(
            expected=self.expected[:, ticks],
            residual=self.residual[:, ticks],
            evidence=self.evidence[..., ticks],
            blame=None if self.blame is None else self.blame[:, ticks],
        )


class Bank(Protocol):
    """S series of one family: stacked parameters, carried state."""

    @property
    def family(self) -> str:
        """Name of its family in `FAMILIES`."""
        ...

    @property
    def series(self) -> int:
        """S."""
        ...

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The streams of its evidence, in the order of the rows."""
        ...

    @property
    def warmup(self) -> int:
        """How many samples of history bring a fresh state up to date."""
        ...

    def step(self, time: int, values: FloatArray) -> Prediction:
        """Advances all series by one tick and returns what was expected at it.

        Args:
            time: the tick, unix seconds, later than the last one.
            values: float64[S], NaN for no sample.
        """
        ...

    def backtest(self, grid: Grid, values: FloatArray) -> Prediction:
        """Returns what one step for each tick of `grid` gives, and advances as much.

        Args:
            grid: T ticks.
            values: float64[S, T], NaN for no sample.
        """
        ...

    def header(self) -> dict[str, Any]:
        """Returns what `restore` needs besides tensors, as JSON values."""
        ...

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Returns the parameters, without the carried state; the first axis is always S."""
        ...


@runtime_checkable
class OnlineBank(Bank, Protocol):
    """A bank that learns while it steps, and takes in series that appear later."""

    def grow(self, count: int) -> None:
        """Adds `count` series that have seen nothing yet, after the present ones."""
        ...


@runtime_checkable
class SystemBank(Bank, Protocol):
    """A bank in which series that belong together make one system, with one score.

    Its series are the channels of G systems. Evidence has a column for each system, and blame says
    which channels it is about.
    """

    @property
    def systems(self) -> int:
        """G."""
        ...

    @property
    def members(self) -> NDArray[np.int64]:
        """int64[S]: the system of each series, 0 to G - 1, each with at least one series."""
        ...

    @property
    def typical(self) -> FloatArray:
        """float64[S], above 0: an ordinary deviation of each series from what is expected."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a fit is.

    Attributes:
        family: name of the family.
        series: series fitted so far.
        of: series to fit.
        epoch: passes over the history made for the present series, for families that have any.
        epochs: most passes.
        loss: mean error on the inner validation part, in the family's own scale.
        seconds_left: estimate from the pace so far.
    """

    family: str
    series: int
    of: int
    epoch: int | None = None
    epochs: int | None = None
    loss: float | None = None
    seconds_left: float | None = None


Report = Callable[[Progress], None]
ShouldStop = Callable[[], bool]


class FitStopped(Exception):
    """A fit ended early because `should_stop` said so."""


class Suggest(Protocol):
    """What a search offers a family that tries parameters: the part of Optuna's Trial used."""

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """Returns a whole number within the bounds."""
        ...

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Returns a number within the bounds."""
        ...

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Returns one of the choices."""
        ...


class Fit(Protocol):
    """Learns S series from T ticks of history."""

    def __call__(
        self,
        values: FloatArray,
        grid: Grid,
        parameters: ApiModel | None = None,
        *,
        scaling: Scaling = Scaling.ROBUST,
        seed: int = 0,
        labels: NDArray[np.bool_] | None = None,
        progress: Report | None = None,
        should_stop: ShouldStop | None = None,
    ) -> Bank:
        """Returns a bank whose state is fresh: history before the first step is for `backtest`.

        Args:
            values: float64[S, T], NaN where there is no sample.
            grid: T ticks.
            parameters: the family's block of an AnomalyModel; None stands for its defaults.
            scaling: how samples are made comparable, for families that are not indifferent to it.
            seed: the same seed, values and number of threads give the same bank.
            labels: bool[S, T], samples known to be anomalous; only families that learn from
                labels look at it.
            progress: called now and then.
            should_stop: asked at least every second.

        Raises:
            FitStopped: `should_stop` returned true.
            ValueError: shapes do not fit together.
        """
        ...


@dataclass(frozen=True, slots=True)
class Family:
    """One family of algorithms.

    Attributes:
        name: as in `algorithm.type`.
        parameters: type of its block in an AnomalyModel.
        fit: learns a bank.
        restore: makes a bank of `header()` and `tensors()`; ValueError when they do not fit.
        minimum_samples: fewest samples of one series that are worth a fit, given parameters.
        fresh: for families that learn while they step: a bank of so many series that have seen
            nothing, `fresh(series, step=seconds)`.
        cheap: a fit takes milliseconds a series, so that it can be made several times: once for
            each fold that calibrates, and at last on everything.
        learns_from_labels: `fit` wants labels.
        search: makes parameters from suggestions, for tuning; None where there is nothing to tune.
    """

    name: str
    parameters: type[ApiModel]
    fit: Fit
    restore: Callable[[Header, Tensors], Bank]
    minimum_samples: Callable[[ApiModel | None], int]
    fresh: Callable[..., OnlineBank] | None = None
    cheap: bool = True
    learns_from_labels: bool = False
    search: Callable[[Suggest], ApiModel] | None = None


def step_through(bank: Bank, grid: Grid, values: FloatArray) -> Prediction:
    """Returns a backtest made of steps, for families where nothing quicker gives the same."""
    expected = np.empty_like(values)
    residual = np.empty_like(values)
    evidence = np.empty((len(bank.streams), *values.shape))
    columns = np.ascontiguousarray(values.T)
    for index, time in enumerate(grid.timestamps().tolist()):
        prediction = bank.step(time, columns[index])
        expected[:, index] = prediction.expected
        residual[:, index] = prediction.residual
        evidence[..., index] = prediction.evidence
    return Prediction(expected=expected, residual=residual, evidence=evidence)


def check_history(values: FloatArray, grid: Grid) -> None:
    """Refuses history whose shape is not [S, T] of `grid`.

    Raises:
        ValueError: says both shapes.
    """
    if values.ndim != 2 or values.shape[1] != grid.count:
        raise ValueError(f"history has shape {values.shape}, the grid has {grid.count} ticks")


def own_parameters(kind: type[P], parameters: ApiModel | None) -> P:
    """Returns `parameters` as the family's own block, its defaults for None.

    Raises:
        TypeError: the block belongs to another family.
    """
    if parameters is None:
        return kind()
    if not isinstance(parameters, kind):
        raise TypeError(f"expected {kind.__name__}, got {type(parameters).__name__}")
    return parameters


def take_tensor(
    tensors: Tensors,
    name: str,
    shape: tuple[int, ...],
    dtype: type[np.generic],
    *,
    finite: bool = True,
) -> NDArray[Any]:
    """Returns a tensor of a stored bank after checking that it is what it must be.

    Raises:
        ValueError: it is missing, has another shape or type, or holds NaN or infinity.
    """
    tensor = tensors.get(name)
    if tensor is None:
        raise ValueError(f"tensor {name} is missing")
    if tensor.shape != shape or tensor.dtype != dtype:
        raise ValueError(
            f"tensor {name} is {tensor.dtype}{list(tensor.shape)}, "
            f"expected {np.dtype(dtype)}{list(shape)}"
        )
    if finite and np.issubdtype(tensor.dtype, np.floating) and not np.isfinite(tensor).all():
        raise ValueError(f"tensor {name} holds values that are no numbers")
    return np.array(tensor)
