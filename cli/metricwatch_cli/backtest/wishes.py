"""What parsed options ask for, as the types that other modules work with."""

from __future__ import annotations

import argparse

from metricwatch_cli.backtest.problems import WrongInput
from metricwatch_cli.backtest.queries import parse_moment
from metricwatch_cli.backtest.reading import Layout
from metricwatch_cli.backtest.settings import Settings, read_settings
from metricwatch_cli.backtest.timestamps import TimeReading, find_zone


def layout_of(options: argparse.Namespace, *, split: float | int | None) -> Layout:
    """Returns how files are to be read.

    Raises:
        WrongInput: an option has no such value.
    """
    folder = options.data is not None and options.data.is_dir()
    return Layout(
        time=options.time_column,
        label=options.label_column,
        part=options.part_column,
        columns=options.columns,
        separator=options.separator,
        times=TimeReading(find_zone(options.time_zone), options.time_unit),
        interval=options.interval,
        mend=folder if options.mend_times is None else options.mend_times,
        split=split,
    )


def split_of(options: argparse.Namespace) -> float | int:
    """Returns where history ends: a share, or unix seconds.

    Raises:
        WrongInput: the time cannot be understood.
    """
    if options.train_until is not None:
        return parse_moment(options.train_until, "--train-until")
    share: float = options.train_share
    return share


def settings_of(options: argparse.Namespace) -> Settings:
    """Returns what manifests and options ask for.

    Raises:
        WrongInput: one of them cannot be used.
    """
    return read_settings(
        getattr(options, "model", None),
        options.watch,
        algorithm=getattr(options, "algorithm", None),
        false_alarms_per_week=options.false_alarms_per_week,
    )


def exactly_one_source(options: argparse.Namespace) -> bool:
    """Returns whether a server is to be read; false for DATA.

    Raises:
        WrongInput: both were given, or neither.
    """
    server = bool(options.query) or options.url is not None or options.start is not None
    if server and options.data is not None:
        raise WrongInput("give DATA or --url and --query, not both")
    if not server and options.data is None:
        raise WrongInput("give DATA, or --url, --query and --start to read a metrics server")
    if server and options.start is None:
        raise WrongInput("--start is missing: say from when on to read, like --start now-14d")
    return server
