"""All recordings that a command line asks for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from metricwatch.assignments import WatchQuery
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
from metricwatch_cli.backtest.recordings import Recording
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
        return _from_server(options, settings, split)
    return _from_files(options, split), str(options.data)


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
    recordings = [one for one in found if isinstance(one, Recording)]
    _say_columns(options, recordings)
    return recordings


def _say_columns(options: argparse.Namespace, recordings: Sequence[Recording]) -> None:
    several = sum(len(one.columns) > 1 for one in recordings)
    if several and options.multivariate != "no":
        sys.stderr.write(
            f"{several} of {len(recordings)} files have several value columns: each column is "
            "scored by itself, and a row is as anomalous as its most anomalous column\n"
        )


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
