"""All recordings that a command line asks for."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

from metricwatch.assignments import WatchQuery
from metricwatch.resources import Scope
from metricwatch_cli.backtest.discovery import find_files
from metricwatch_cli.backtest.meter import Meter, open_stream
from metricwatch_cli.backtest.problems import WrongInput
from metricwatch_cli.backtest.queries import (
    Asked,
    grid_between,
    parse_moment,
    read_series,
    source_config,
)
from metricwatch_cli.backtest.recordings import Recording, stack
from metricwatch_cli.backtest.running import Reading, read_file
from metricwatch_cli.backtest.settings import Settings
from metricwatch_cli.backtest.spreading import spread
from metricwatch_cli.backtest.wishes import exactly_one_source, layout_of

_MOST_SHOWN = 20


def gather(
    options: argparse.Namespace, settings: Settings, *, split: float | int | None
) -> tuple[list[Recording], str]:
    """Returns the recordings, and where they are from, for people.

    Raises:
        WrongInput: something cannot be read; every bad file is named, none is used.
    """
    if exactly_one_source(options):
        recordings, source = _from_server(options, settings, split)
    else:
        recordings, source = _from_files(options, split), str(options.data)
    return _as_systems(recordings, options, settings), source


def _from_files(options: argparse.Namespace, split: float | int | None) -> list[Recording]:
    layout = layout_of(options, split=split)
    files = find_files(options.data, only=options.series)
    meter = Meter("reading", len(files), open_stream(wanted=options.progress))
    # A worker takes a second to start, in which many small files are read.
    large = sum(file.path.stat().st_size for file in files) > 20_000_000
    found = spread(
        read_file,
        [Reading(file, layout) for file in files],
        jobs=options.jobs if large else 1,
        meter=meter,
    )
    problems = [one for one in found if isinstance(one, str)]
    if problems:
        raise WrongInput(_listed(problems))
    return [one for one in found if isinstance(one, Recording)]


def _as_systems(
    recordings: list[Recording], options: argparse.Namespace, settings: Settings
) -> list[Recording]:
    """Returns the recordings, as systems where they are to be judged as a whole."""
    scope = settings.model.scope if "scope" in settings.model.model_fields_set else None
    wanted = {"yes": True, "no": False}.get(options.multivariate)
    if wanted is None and scope is not None:
        wanted = scope is Scope.MULTIVARIATE
    if wanted and options.data is None:
        whole = replace(stack(recordings), name="system")
        return [whole.as_system()]
    several = wanted if wanted is not None else options.data is not None
    return [one.as_system() if several and len(one.columns) > 1 else one for one in recordings]


def _listed(problems: Sequence[str]) -> str:
    more = len(problems) - _MOST_SHOWN
    lines = [*problems[:_MOST_SHOWN], *([f"… and {more} more files"] if more > 0 else [])]
    return "\n".join(lines)


def _from_server(
    options: argparse.Namespace, settings: Settings, split: float | int | None
) -> tuple[list[Recording], str]:
    watch, model = settings.watch, settings.model
    config = source_config(
        options.url,
        options.source_type,
        options.auth_directory,
        options.tenant,
        watch.source.over(model.source),
    )
    asked = Asked(
        source=config,
        queries=_queries(options, settings),
        grid=grid_between(
            parse_moment(options.start, "--start"),
            parse_moment(options.end, "--end"),
            options.interval or round(watch.interval.seconds),
        ),
        most_series=options.max_series or watch.max_series,
    )
    ticks = asked.grid.count * len(asked.queries)
    meter = Meter("reading", ticks, open_stream(wanted=options.progress))
    try:
        found = read_series(asked, split=split, progress=lambda done, of: meter.show(done))
    finally:
        meter.end()
    expressions = "; ".join(query.expr for query in asked.queries)
    return found, f"{expressions} at {config.url or config.type}"


def _queries(options: argparse.Namespace, settings: Settings) -> tuple[WatchQuery, ...]:
    """Returns the queries of the options, else of the watch."""
    if len(options.query) == 1:
        return (WatchQuery(expr=options.query[0]),)
    if options.query:
        return tuple(
            WatchQuery(name=f"q{number}", expr=expr)
            for number, expr in enumerate(options.query, start=1)
        )
    if options.watch is None:
        raise WrongInput("--query is missing: say which series to read, or give a --watch")
    watch = settings.watch
    if watch.query is not None:
        return (WatchQuery(expr=watch.query),)
    return tuple(WatchQuery(name=one.name, expr=one.expr) for one in watch.queries)
