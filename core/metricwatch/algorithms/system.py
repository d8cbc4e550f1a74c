"""Series of a watch as one system: what is odd about all of them together, and about which.

Every channel is compared with its own moving level and its own quantiles; the system is judged by
its rarest channels, by how far all of them are from their levels, and by how far it is from where
its channels usually move together. Four streams that err differently are worth more than one that
is a little better; `docs/families/multivariate.md` has the figures.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from metricwatch.algorithms.base import (
    FloatArray,
    Header,
    Horizon,
    Prediction,
    Progress,
    Report,
    ShouldStop,
    Stream,
    Tensors,
    check_history,
    own_parameters,
    take_tensor,
)
from metricwatch.algorithms.system_blame import blame_of, rarest
from metricwatch.algorithms.system_channels import Channels, ChannelTracker, learn_channels
from metricwatch.algorithms.system_layout import Layout
from metricwatch.algorithms.system_rarity import capped, evidence_of
from metricwatch.algorithms.system_subspace import Subspace, distance, learn_subspace, split
from metricwatch.resources.formats import PositiveDuration
from metricwatch.resources.schema import ApiModel
from metricwatch.resources.training import Scaling
from metricwatch.series import Grid

_MOST_RARITY = 8.0
_LEAST_EVIDENCE = 1e-3
"""Of channels that say the same twice nothing is left but rounding, and that is no evidence."""
_LEAST_HALF_LIFE = 60.0
_HISTORY_PER_HALF_LIFE = 4
_BLOCK_SAMPLES = 1 << 20
_MOST_BLOCK = 1024


class SystemParameters(ApiModel):
    """Channels against their own levels, and a subspace of all of them."""

    half_life: PositiveDuration = Field(
        default="1d",
        validate_default=True,
        description="halfLife of the level of a channel: a shift that lasts is the new normal "
        "after one or two of them.",
    )
    directions: Annotated[int, Field(ge=1, le=64)] = Field(
        default=8,
        description="directions is the most principal components that are looked at.",
    )


class ChannelSystemBank:
    """S channels of G systems."""

    family = "system"
    streams = (
        Stream("channels", Horizon.SHORT, signed=False),
        Stream("jumps", Horizon.SHORT, signed=False),
        Stream("distance", Horizon.SHORT, signed=False),
        Stream("subspace", Horizon.SHORT, signed=False),
        Stream("relation", Horizon.SHORT, signed=False),
    )

    def __init__(
        self,
        layout: Layout,
        channels: Channels,
        subspace: Subspace,
        *,
        half_life: float,
    ) -> None:
        """Takes parameters over; the state is fresh.

        Args:
            layout: which channels make which system.
            channels: what each channel is like alone.
            subspace: how the channels of a system move together.
            half_life: of the levels, in ticks.
        """
        self._layout = layout
        self._channels = channels
        self._subspace = subspace
        self._half_life = half_life
        self._tracker = ChannelTracker(channels, half_life=half_life)

    @property
    def series(self) -> int:
        """S."""
        return len(self.members)

    @property
    def systems(self) -> int:
        """G."""
        return self._layout.systems

    @property
    def members(self) -> NDArray[np.int64]:
        """int64[S], the system of each channel."""
        return self._layout.members

    @property
    def typical(self) -> FloatArray:
        """float64[S], an ordinary deviation of each channel, in the unit of its samples."""
        return self._channels.scale

    @property
    def warmup(self) -> int:
        """Two half-lives hold three quarters of what a level is made of."""
        return min(3000, round(2 * self._half_life))

    def step(self, time: int, values: FloatArray) -> Prediction:
        """Advances all channels by one tick."""
        del time  # the same at any hour
        expected, evidence, blame = self._block(values[:, None])
        return Prediction(
            expected=expected[:, 0],
            residual=values - expected[:, 0],
            evidence=evidence[..., 0],
            blame=blame[:, 0],
        )

    def backtest(self, grid: Grid, values: FloatArray) -> Prediction:
        """Returns what one step for each tick gives."""
        expected = np.empty_like(values)
        evidence = np.empty((len(self.streams), self.systems, grid.count))
        blame = np.empty_like(values)
        ticks = max(1, min(_MOST_BLOCK, _BLOCK_SAMPLES // max(self.series, 1)))
        for first in range(0, grid.count, ticks):
            part = slice(first, first + ticks)
            block = self._block(values[:, part])
            expected[:, part], evidence[..., part], blame[:, part] = block
        return Prediction(
            expected=expected, residual=values - expected, evidence=evidence, blame=blame
        )

    def _block(self, values: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Returns expected [S, T], evidence [K, G, T] and blame [S, T].

        Channels go tick by tick, because each learns from the tick before; systems all at once.
        """
        expected = np.empty_like(values)
        deviation = np.empty_like(values)
        rarities = np.empty((2, *values.shape))
        for index, column in enumerate(np.ascontiguousarray(values.T)):
            seen = self._tracker.advance(column)
            expected[:, index] = seen.level
            deviation[:, index] = seen.deviation
            rarities[..., index] = seen.rarity
        within, left = split(deviation, self._subspace, self._layout)
        evidence = self._evidence(deviation, rarities, within, left)
        return expected, evidence, blame_of(deviation, rarities, left)

    def _evidence(
        self, deviation: FloatArray, rarities: FloatArray, within: FloatArray, left: FloatArray
    ) -> FloatArray:
        far, jump = capped(rarities, _MOST_RARITY)
        evidence = np.stack(
            [
                evidence_of(rarest(far, self._layout)),
                evidence_of(rarest((far + jump) / 2, self._layout)),
                distance(deviation, self._layout),
                within,
                distance(left, self._layout),
            ]
        )
        evidence[:, ~self._present(deviation)] = np.nan
        return np.maximum(evidence, _LEAST_EVIDENCE)

    def _present(self, deviation: FloatArray) -> NDArray[np.bool_]:
        """Returns bool[G, T], whether any channel of a system has a sample."""
        known = ~np.isnan(deviation)
        present = np.zeros((self.systems, deviation.shape[1]), dtype=np.bool_)
        for batch in self._layout.batches:
            present[batch.systems] = known[batch.channels].any(axis=1)
        return present

    def header(self) -> dict[str, Any]:
        """Returns the half-life, in ticks, and how many directions there are."""
        return {"half_life": self._half_life, "directions": int(self._subspace.axes.shape[1])}

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Returns the parameters."""
        own, subspace = self._channels, self._subspace
        return {
            "members": self.members,
            "centre": own.centre,
            "scale": own.scale,
            "quantiles": np.ascontiguousarray(own.quantiles.transpose(2, 0, 1)),
            "floor": own.floor,
            "samples": own.samples,
            "mean": subspace.mean,
            "axes": subspace.axes,
            "lengths": subspace.lengths,
            "rest": subspace.rest,
        }


def fit_systems(
    values: FloatArray,
    grid: Grid,
    members: NDArray[Any],
    parameters: ApiModel | None = None,
    *,
    scaling: Scaling = Scaling.ROBUST,
    seed: int = 0,
    progress: Report | None = None,
    should_stop: ShouldStop | None = None,
) -> ChannelSystemBank:
    """Returns a bank of systems whose state is fresh.

    Args:
        values: float64[S, T], NaN where there is no sample.
        grid: T ticks.
        members: whole numbers [S], the system of each series, 0 to G - 1.
        parameters: None stands for the defaults.
        scaling: makes no difference: channels are compared by their own quantiles.
        seed: makes no difference: nothing here is random.
        progress: called once at the end.
        should_stop: asked at least every second.

    Raises:
        FitStopped: `should_stop` returned true.
        ValueError: shapes do not fit together, or a system has no series.
    """
    del scaling, seed
    check_history(values, grid)
    own = own_parameters(SystemParameters, parameters)
    layout = Layout.of(np.asarray(members))
    if len(layout.members) != len(values):
        raise ValueError(f"{len(layout.members)} members for {len(values)} series")
    half_life = ticks_of(own.half_life.seconds, grid)
    channels, deviations = learn_channels(values, half_life=half_life, should_stop=should_stop)
    subspace = learn_subspace(deviations, layout, directions=own.directions)
    if progress is not None:
        progress(Progress(family=ChannelSystemBank.family, series=len(values), of=len(values)))
    return ChannelSystemBank(layout, channels, subspace, half_life=half_life)


def ticks_of(half_life: float, grid: Grid) -> float:
    """Returns a half-life in ticks, within what the history can support.

    A level that was learned from a few minutes is not held on to for a day, and one that follows
    within an hour of minutes would learn every incident.
    """
    longest = max(_LEAST_HALF_LIFE, grid.count / _HISTORY_PER_HALF_LIFE)
    return float(min(max(half_life / grid.step, _LEAST_HALF_LIFE), longest))


def restore_systems(header: Header, tensors: Tensors) -> ChannelSystemBank:
    """Returns the bank that `header` and `tensors` describe, with a fresh state.

    Raises:
        ValueError: they do not fit together.
    """
    half_life, directions = header.get("half_life"), header.get("directions")
    if not isinstance(half_life, float) or not 1 <= half_life < 1e9:
        raise ValueError(f"half_life is {half_life!r}, expected ticks, at least 1")
    if not isinstance(directions, int) or not 1 <= directions <= 64:
        raise ValueError(f"directions is {directions!r}, expected 1 to 64")
    series = len(tensors["members"]) if "members" in tensors else 0
    layout = Layout.of(take_tensor(tensors, "members", (series,), np.int64))
    one = {
        name: take_tensor(tensors, name, (series,), np.float64)
        for name in ("centre", "scale", "floor", "samples", "mean", "rest")
    }
    if (one["scale"] <= 0).any() or (one["rest"] <= 0).any() or (one["samples"] < 0).any():
        raise ValueError("scale and rest must be above zero and samples not below it")
    quantiles = take_tensor(tensors, "quantiles", (series, 2, 2), np.float64)
    if (quantiles[:, :, 1] < quantiles[:, :, 0]).any():
        raise ValueError("quantiles must rise")
    lengths = take_tensor(tensors, "lengths", (series, directions), np.float32)
    if (lengths <= 0).any():
        raise ValueError("lengths must be above zero")
    axes = take_tensor(tensors, "axes", (series, directions), np.float32)
    subspace = Subspace(mean=one.pop("mean"), axes=axes, lengths=lengths, rest=one.pop("rest"))
    channels = Channels(quantiles=np.ascontiguousarray(quantiles.transpose(1, 2, 0)), **one)
    return ChannelSystemBank(layout, channels, subspace, half_life=half_life)
