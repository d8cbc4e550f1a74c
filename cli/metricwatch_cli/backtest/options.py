"""The options that backtest, train and evaluate share; what they mean is in `wishes`."""

from __future__ import annotations

import argparse
import os
import textwrap
from collections.abc import Callable
from pathlib import Path

from metricwatch.durations import parse_duration
from metricwatch.resources.source import SourceType


def wrapped(text: str) -> str:
    """Returns a description in lines: examples below it keep theirs, so argparse wraps nothing."""
    return textwrap.fill(text, 79)


def add_data(parser: argparse.ArgumentParser) -> None:
    """Adds where data comes from and how it is to be read."""
    parser.add_argument(
        "data",
        metavar="DATA",
        type=Path,
        nargs="?",
        help="a CSV file, a folder of CSV files, or a folder of such folders (DATASET/SERIES.csv "
        "or .csv.gz): a column with times, value columns, optionally label (0, 1) and part "
        "(train, test)",
    )
    parser.add_argument(
        "--interval",
        type=_interval,
        metavar="DURATION",
        help="between two samples, like 1m (default: the median distance of a file's rows; of a "
        "server the interval of the watch)",
    )
    parser.add_argument(
        "--multivariate",
        choices=("auto", "yes", "no"),
        default="auto",
        help="whether columns are one system (auto: when a file has several)",
    )
    _add_files(parser)


def _add_files(parser: argparse.ArgumentParser) -> None:
    files = parser.add_argument_group("files")
    files.add_argument("--series", metavar="PATTERN", help="only DATASET/SERIES like nab/*")
    files.add_argument(
        "--time-column", default="timestamp", metavar="NAME", help="of times (default: timestamp)"
    )
    files.add_argument(
        "--label-column", default="label", metavar="NAME", help="of labels (default: label)"
    )
    files.add_argument(
        "--part-column", default="part", metavar="NAME", help="of parts (default: part)"
    )
    files.add_argument(
        "--columns", type=_names, default=(), metavar="NAME,NAME", help="value columns; else all"
    )
    files.add_argument(
        "--separator", default=",", type=_separator, help="of cells (default: a comma)"
    )
    files.add_argument(
        "--time-zone",
        metavar="ZONE",
        help="of times that do not say theirs, like Europe/Berlin; the page shows times in it",
    )
    files.add_argument(
        "--time-unit", choices=("s", "ms"), default="s", help="of times that are numbers"
    )
    files.add_argument(
        "--mend-times",
        action=argparse.BooleanOptionalAction,
        help="go on where a few times repeat or go back, and note it, instead of refusing the "
        "file; a folder is mended by default",
    )


def add_server(parser: argparse.ArgumentParser) -> None:
    """Adds reading from a metrics server."""
    server = parser.add_argument_group("a metrics server in place of DATA")
    server.add_argument("--url", help="like http://localhost:8428; else the source of manifests")
    server.add_argument(
        "--query", action="append", default=[], metavar="EXPR", help="PromQL; may be repeated"
    )
    server.add_argument("--start", metavar="TIME", help="RFC 3339, unix seconds or like now-14d")
    server.add_argument("--end", default="now", metavar="TIME", help="the same (default: now)")
    server.add_argument(
        "--source-type", choices=[str(one) for one in SourceType], help="kind of server"
    )
    server.add_argument("--tenant", help="of a VictoriaMetrics cluster")
    server.add_argument(
        "--auth-directory",
        type=Path,
        metavar="DIR",
        help="files username and password, or token, and ca.crt, tls.crt, tls.key",
    )
    server.add_argument("--max-series", type=_count, metavar="N", help="else that of the watch")


def add_settings(parser: argparse.ArgumentParser, *, learns: bool) -> None:
    """Adds how to learn and when to raise an anomaly."""
    how = parser.add_argument_group("how")
    if learns:
        how.add_argument(
            "--model", type=Path, metavar="FILE", help="YAML with an AnomalyModel; else defaults"
        )
        how.add_argument("--algorithm", metavar="TYPE", help="algorithm.type, before the model's")
    how.add_argument(
        "--watch", type=Path, metavar="FILE", help="YAML with a MetricWatch; else defaults"
    )
    how.add_argument(
        "--false-alarms-per-week",
        type=float,
        metavar="N",
        help="the budget of each series, before the watch's",
    )


def add_split(parser: argparse.ArgumentParser) -> None:
    """Adds where history ends, for data without a part column."""
    split = parser.add_mutually_exclusive_group()
    split.add_argument(
        "--train-share",
        type=_share,
        default=0.5,
        metavar="SHARE",
        help="without a part column, the first share of the samples is history (default: 0.5)",
    )
    split.add_argument("--train-until", metavar="TIME", help="or everything before a time is")


def add_run(parser: argparse.ArgumentParser) -> None:
    """Adds how a run goes."""
    parser.add_argument(
        "--jobs", type=_count, default=_cores(), metavar="N", help="processes (default: cores)"
    )
    parser.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        help="show progress and time left (default: when standard error is a terminal)",
    )


def add_results(parser: argparse.ArgumentParser) -> None:
    """Adds what is written."""
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="where results go; a folder with earlier results is replaced",
    )
    parser.add_argument(
        "--output", choices=("table", "json"), default="table", help="what is printed"
    )
    parser.add_argument("--no-plots", action="store_true", help="no PNG files and no page")
    parser.add_argument(
        "--inject",
        type=_count,
        nargs="?",
        const=12,
        default=0,
        metavar="N",
        help="walk a second time with up to N made-up anomalies in each column (12 without a "
        "number), and report by kind what was found",
    )
    parser.add_argument("--seed", type=int, default=0, help="of made-up anomalies (default: 0)")


def _cores() -> int:
    return (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(one.strip() for one in text.split(",") if one.strip())


def _separator(text: str) -> str:
    found = {"tab": "\t", "\\t": "\t"}.get(text, text)
    if len(found) != 1:
        raise argparse.ArgumentTypeError("must be one character, or tab")
    return found


def _interval(text: str) -> int:
    seconds = _checked(text, parse_duration)
    if seconds < 1 or seconds != round(seconds):
        raise argparse.ArgumentTypeError("must be whole seconds, at least 1s")
    return round(seconds)


def _share(text: str) -> float:
    share = _checked(text, float)
    if not 0.0 < share < 1.0:
        raise argparse.ArgumentTypeError("must be above 0 and below 1")
    return share


def _count(text: str) -> int:
    count = int(_checked(text, int))
    if count < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return count


def _checked(text: str, parse: Callable[[str], float]) -> float:
    try:
        return parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
