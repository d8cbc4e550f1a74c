"""Series of a metrics server as recordings, read as the trainer reads its history."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from metricwatch.assignments import TrainingWatch, WatchQuery
from metricwatch.durations import parse_duration
from metricwatch.resources import Source
from metricwatch.resources.source import SourceType
from metricwatch.series import Grid, Labels, Panel
from metricwatch.sources import SourceConfig, SourceError
from metricwatch_cli.backtest.problems import WrongInput
from metricwatch_cli.backtest.recordings import Recording, Rows
from metricwatch_trainer.history import read_history

_MOST_TICKS = 2_000_000
_UNSAFE = re.compile(r"[^-+._a-zA-Z0-9=,@]+")
_LONGEST_NAME = 120


@dataclass(frozen=True, slots=True)
class Asked:
    """What to read.

    Attributes:
        source: where.
        queries: which series.
        grid: which ticks.
        most_series: more are left out, the last by label order.
    """

    source: SourceConfig
    queries: tuple[WatchQuery, ...]
    grid: Grid
    most_series: int


def source_config(
    url: str | None, kind: str | None, auth: Path | None, tenant: str | None, base: Source
) -> SourceConfig:
    """Returns where to read: the options, and what they leave unset from manifests.

    Raises:
        WrongInput: that is no source.
    """
    own = {} if url is not None else {"url": base.url, "type": base.type, "tenant": base.tenant}
    wanted = own | {
        name: value
        for name, value in {"url": url, "type": kind, "tenant": tenant}.items()
        if value is not None
    }
    known = {name: value for name, value in wanted.items() if value is not None}
    known.setdefault("type", SourceType.PROMETHEUS)
    headers = (base.headers or {}) if url is None else {}
    try:
        return SourceConfig.model_validate(
            known
            | {
                "headers": headers,
                "authDirectory": None if auth is None else str(auth),
                "authSecret": None if auth is None else str(auth),
            }
        )
    except ValidationError as error:
        lines = "; ".join(_mistake(one["loc"], one["msg"]) for one in error.errors())
        raise WrongInput(f"the source cannot be used: {lines}") from error


def _mistake(place: tuple[int | str, ...], message: str) -> str:
    """What is wrong with an option of a source, and how to write it."""
    if place[:1] == ("url",):
        return "write --url like http://prometheus.monitoring:9090, without a query or a user"
    if place[:1] == ("tenant",):
        return "write --tenant like 12 or 12:3"
    return message


def parse_moment(text: str, option: str, *, now: float | None = None) -> int:
    """Returns unix seconds of RFC 3339, unix seconds, `now` or a time before it like `now-14d`.

    Raises:
        WrongInput: it is none of these.

    >>> parse_moment("2023-11-14T22:13:20Z", "--start")
    1700000000
    >>> parse_moment("now-1h", "--start", now=1700003600)
    1700000000
    """
    if text == "now" or text.startswith("now-"):
        try:
            back = parse_duration(text[4:]) if text != "now" else 0.0
        except ValueError as error:
            raise WrongInput(f"{option}: {error}") from error
        return round((time.time() if now is None else now) - back)
    if re.fullmatch(r"[0-9]{1,11}(\.[0-9]+)?", text):
        return round(float(text))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise WrongInput(
            f"{option}: {text!r} is no time: write it like 2026-01-31T12:00:00Z, 1700000000 or "
            "now-14d"
        ) from error
    if moment.tzinfo is None:
        raise WrongInput(
            f"{option}: {text!r} does not say in which time zone it is: write it like {text}Z"
        )
    return round(moment.astimezone(UTC).timestamp())


def grid_between(start: int, end: int, step: int) -> Grid:
    """Returns the ticks from start to end.

    Raises:
        WrongInput: there are none, or too many.
    """
    if end <= start:
        raise WrongInput("--end must be after --start")
    grid = Grid.covering(start, end, step)
    if not 2 <= grid.count <= _MOST_TICKS:
        raise WrongInput(
            f"from --start to --end there are {grid.count} intervals of {step} s, and 2 to "
            f"{_MOST_TICKS} are possible: change --interval"
        )
    return grid


def read_series(
    asked: Asked, *, split: float | int | None, progress: Callable[[int, int], None]
) -> list[Recording]:
    """Returns a recording for each series.

    Args:
        asked: what to read.
        split: see `Layout`.
        progress: told how many of how many ticks are there.

    Raises:
        WrongInput: the source is away or refuses, or has no such series.
    """
    watch = TrainingWatch(
        uid="backtest",
        namespace="default",
        name="backtest",
        queries=asked.queries,
        source=asked.source,
        interval_seconds=asked.grid.step,
        max_series=asked.most_series,
    )
    try:
        panel = asyncio.run(read_history(watch, asked.grid, progress=progress))
    except SourceError as error:
        raise WrongInput(f"{error}") from error
    if not panel.labels:
        raise WrongInput("the query gives no series between --start and --end")
    history = _history(asked.grid, split)
    names = file_names(panel.labels)
    return [_recording(panel, row, names[row], history) for row in range(len(panel.labels))]


def _history(grid: Grid, split: float | int | None) -> int:
    if split is None:
        return 0
    if isinstance(split, int):
        return max(0, min(grid.count, -(-(split - grid.start) // grid.step)))
    return round(grid.count * split)


def _recording(panel: Panel, row: int, name: str, history: int) -> Recording:
    grid = panel.grid
    ticks = np.arange(history, grid.count, dtype=np.int64)
    notes = (f"{panel.left_out} series beyond the limit were left out",) if panel.left_out else ()
    return Recording(
        dataset="",
        name=name,
        columns=(shown(panel.labels[row]),),
        labels=(panel.labels[row],),
        grid=grid,
        values=panel.values[row : row + 1],
        known=np.zeros((1, grid.count), np.bool_),
        history=history,
        rows=Rows(times=grid.timestamps()[history:], ticks=ticks, truth=None),
        notes=notes if row == 0 else (),
    )


def shown(labels: Labels) -> str:
    """Returns a series as PromQL writes it.

    >>> shown((("__name__", "up"), ("job", "shop")))
    'up{job="shop"}'
    """
    name = dict(labels).get("__name__", "")
    inner = ", ".join(f'{key}="{value}"' for key, value in labels if key != "__name__")
    return f"{name}{{{inner}}}" if inner or not name else name


def file_names(labels: Sequence[Labels]) -> list[str]:
    """Returns a name for a file for each series, all different."""
    names: list[str] = []
    used: set[str] = set()
    for one in labels:
        plain = ",".join(value if key == "__name__" else f"{key}={value}" for key, value in one)
        name = _UNSAFE.sub("_", plain)[:_LONGEST_NAME].lstrip(".") or "series"
        number = 2
        unique = name
        while unique in used:
            unique, number = f"{name}-{number}", number + 1
        used.add(unique)
        names.append(unique)
    return names
