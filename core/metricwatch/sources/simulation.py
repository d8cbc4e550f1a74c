"""Series computed in the process, for trying out without any server.

An expression is `simulation(series=20, seed=1, incident=6h)`. Each series has a level, a daily
and a weekly rhythm and noise, like the requests of a shop. A value depends on nothing but seed,
series and time, so that history and live samples of any process agree. With `incident`, the first
series doubles during the last five minutes of each such period.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metricwatch.durations import parse_duration
from metricwatch.series import Grid, Labels, Panel
from metricwatch.sources.errors import SourceRefused, quote
from metricwatch.sources.protocol import Progress, Sample

_EXPRESSION = re.compile(r"\s*simulation\s*\(([^()]*)\)\s*")
_ARGUMENT = re.compile(r"\s*(series|seed|incident)\s*=\s*([0-9a-z]{1,20})\s*")
_MOST_SERIES = 100_000
_DAY = 86_400
_WEEK = 7 * _DAY
_INCIDENT_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Simulation:
    """What an expression asks for.

    Attributes:
        series: how many series.
        seed: which ones.
        incident: seconds from one incident to the next, 0 for none.
    """

    series: int = 20
    seed: int = 1
    incident: int = 0

    def labels(self) -> tuple[Labels, ...]:
        """Returns the labels of the series, in label order."""
        return tuple(
            (("__name__", "simulated_requests"), ("instance", f"shop-{one:05d}"))
            for one in range(self.series)
        )

    def values(self, ticks: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns float64[S, T] at the unix seconds `ticks`, int64[T]."""
        one = np.arange(self.series, dtype=np.int64)[:, np.newaxis]
        level = 50.0 + 150.0 * self._uniform(one, 1)
        shift = _DAY / 12 * self._uniform(one, 2)
        day = 0.35 * np.sin(2 * np.pi * (ticks + shift) / _DAY)
        week = 0.1 * np.sin(2 * np.pi * (ticks + shift) / _WEEK)
        values = level * (1.0 + day + week + 0.03 * self._normal(one, ticks))
        if self.incident and self.series:
            values[0, ticks % self.incident >= self.incident - _INCIDENT_SECONDS] *= 2.0
        return values

    def _uniform(
        self, one: NDArray[np.int64], stream: int | NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Numbers in (0, 1) from a counter, not a state: any moment can be asked for alone."""
        mask = np.uint64(0xFFFF_FFFF)
        start = np.uint64(self.seed * 0x9E37_79B9 & 0xFFFF_FFFF) << np.uint64(32)
        counter = _mix(start ^ one.astype(np.uint64))
        mixed = _mix(counter ^ np.asarray(stream).astype(np.uint64))
        return ((mixed >> np.uint64(32)) & mask).astype(np.float64) / 2**32 + 2.0**-33

    def _normal(self, one: NDArray[np.int64], ticks: NDArray[np.int64]) -> NDArray[np.float64]:
        """Standard normal numbers (Box and Muller, 1958)."""
        radius = np.sqrt(-2.0 * np.log(self._uniform(one, 2 * ticks + (1 << 40))))
        return radius * np.cos(2 * np.pi * self._uniform(one, 2 * ticks + (1 << 40) + 1))


class SimulationSource:
    """A source without a server."""

    ahead = 0.0

    async def compare_clocks(self) -> None:
        """The only clock is ours."""

    async def query_range(
        self,
        expr: str,
        grid: Grid,
        *,
        progress: Progress | None = None,
        max_series: int | None = None,
    ) -> Panel:
        """Returns the simulated series over `grid`; see `Source`."""
        simulation, left_out = _limited(parse_simulation(expr), max_series)
        values = simulation.values(grid.timestamps())
        if progress is not None:
            progress(grid.count, grid.count)
        return Panel(grid=grid, labels=simulation.labels(), values=values, left_out=left_out)

    async def query(
        self, expr: str, *, at: int, step: int, max_series: int | None = None
    ) -> Sample:
        """Returns the simulated series at `at`; see `Source`. `step` changes nothing."""
        simulation, left_out = _limited(parse_simulation(expr), max_series)
        values = simulation.values(np.array([at], dtype=np.int64))[:, 0]
        return Sample(at=at, labels=simulation.labels(), values=values, left_out=left_out)

    async def close(self) -> None:
        """There is nothing to close."""


def parse_simulation(expr: str) -> Simulation:
    """Returns what an expression asks for.

    Raises:
        SourceRefused: it is not a simulation, or asks for too much.

    >>> parse_simulation("simulation(series=3, incident=6h)")
    Simulation(series=3, seed=1, incident=21600)
    """
    whole = _EXPRESSION.fullmatch(expr)
    if whole is None:
        raise _refused(expr)
    found: dict[str, int] = {}
    for text in whole[1].split(",") if whole[1].strip() else ():
        argument = _ARGUMENT.fullmatch(text)
        if argument is None:
            raise _refused(expr)
        found[argument[1]] = _number(argument[1], argument[2], expr)
    simulation = Simulation(**found)
    if not 0 <= simulation.series <= _MOST_SERIES:
        raise SourceRefused(f"A simulation has at most {_MOST_SERIES} series.")
    if simulation.incident and simulation.incident < 2 * _INCIDENT_SECONDS:
        raise SourceRefused("Incidents of a simulation last 5m and must be at least 10m apart.")
    return simulation


def _number(name: str, text: str, expr: str) -> int:
    try:
        return int(parse_duration(text)) if name == "incident" else int(text)
    except ValueError as error:
        raise _refused(expr) from error


def _refused(expr: str) -> SourceRefused:
    return SourceRefused(
        "A source of type simulation understands expressions like simulation(series=20, seed=1, "
        f"incident=6h), not {quote(expr)!r}."
    )


def _limited(simulation: Simulation, max_series: int | None) -> tuple[Simulation, int]:
    kept = simulation.series if max_series is None else min(simulation.series, max_series)
    limited = Simulation(series=kept, seed=simulation.seed, incident=simulation.incident)
    return limited, simulation.series - kept


def _mix(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of SplitMix64 (Steele, Lea, Flood, 2014)."""
    mixed = numbers + np.uint64(0x9E37_79B9_7F4A_7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
    return mixed ^ (mixed >> np.uint64(31))
