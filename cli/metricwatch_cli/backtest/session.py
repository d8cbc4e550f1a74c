"""One run of a command from its recordings to its report, and how it ends when it cannot."""

from __future__ import annotations

import argparse
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from metricwatch.algorithms import FitStopped
from metricwatch_cli.backtest.detections import write_anomalies, write_json
from metricwatch_cli.backtest.meter import Meter, open_stream
from metricwatch_cli.backtest.outcome import Outcome
from metricwatch_cli.backtest.page import PAGE, points_for, write_page
from metricwatch_cli.backtest.problems import INTERRUPTED, WRONG_INPUT, WrongInput
from metricwatch_cli.backtest.recordings import Recording, blocks_of
from metricwatch_cli.backtest.reports import build_report, format_table
from metricwatch_cli.backtest.running import PAGE_FOLDER, Job, Work, run_one
from metricwatch_cli.backtest.settings import Settings
from metricwatch_cli.backtest.spreading import spread
from metricwatch_cli.backtest.staging import staged
from metricwatch_cli.terminal import as_json, complain, say

REPORT = "report.json"


def guarded(command: str, run: Callable[[], int]) -> int:
    """Returns the exit status of a command; what is wrong becomes a message."""
    former = signal.signal(signal.SIGTERM, _interrupt)
    try:
        return run()
    except WrongInput as error:
        for line in str(error).splitlines():
            complain(f"metricwatch {command}: {line}")
        return WRONG_INPUT
    except ModuleNotFoundError as error:
        complain(
            f"metricwatch {command}: the package {error.name} is not installed: in a checkout run "
            "make setup-train, or pip install '.[cli,trainer]'"
        )
        return WRONG_INPUT
    except (KeyboardInterrupt, FitStopped):
        complain(f"metricwatch {command}: interrupted, nothing was written")
        return INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, former)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def report_on(
    recordings: Sequence[Recording],
    options: argparse.Namespace,
    settings: Settings,
    *,
    command: str,
    source: str,
    artifacts: Callable[[Sequence[Recording]], tuple[bytes, ...] | None],
) -> int:
    """Walks through recordings, writes results to `--out` and prints the report.

    Args:
        recordings: what to walk through.
        options: of the command line.
        settings: how to learn and judge.
        command: its name.
        source: where data came from, for people.
        artifacts: what was learned before of some recordings; None to learn their history first.

    Raises:
        WrongInput: results cannot be written.
    """
    began = time.monotonic()
    with staged(options.out, marker=REPORT) as folder:
        jobs = _jobs(recordings, options, settings, folder, artifacts)
        outcomes = _run(jobs, options, command)
        report = build_report(
            outcomes,
            command=command,
            source=source,
            settings=_asked(settings, options),
            seconds=time.monotonic() - began,
        )
        write_anomalies(folder, outcomes)
        write_json(folder / REPORT, report)
        _write_page(folder, report, options)
    _say(report, options)
    return 0


def _jobs(
    recordings: Sequence[Recording],
    options: argparse.Namespace,
    settings: Settings,
    folder: Path,
    artifacts: Callable[[Sequence[Recording]], tuple[bytes, ...] | None],
) -> list[Job]:
    columns = sum(len(one.columns) for one in recordings)
    work = Work(
        settings=settings,
        folder=folder,
        plots=not options.no_plots,
        page=0 if options.no_plots else points_for(columns),
        inject=options.inject,
        seed=options.seed,
    )
    blocks = [
        (tuple(numbers), tuple(recordings[number] for number in numbers))
        for numbers in blocks_of(recordings, jobs=options.jobs)
    ]
    return [Job(numbers, block, artifacts(block), work) for numbers, block in blocks]


def _say(report: dict[str, Any], options: argparse.Namespace) -> None:
    if options.output == "json":
        say(as_json(report))
        return
    say(f"{format_table(report)}results are in {options.out}{_hint(options)}")


def _run(jobs: list[Job], options: argparse.Namespace, command: str) -> list[Outcome]:
    """The longest first, so that no process ends up alone with a long one."""
    order = sorted(jobs, key=lambda job: -job.amount)
    meter = Meter(command, sum(job.amount for job in jobs), open_stream(wanted=options.progress))
    found = spread(run_one, order, jobs=options.jobs, meter=meter)
    placed = {
        number: outcome
        for job, outcomes in zip(order, found, strict=True)
        for number, outcome in zip(job.numbers, outcomes, strict=True)
    }
    return [placed[number] for number in sorted(placed)]


def _asked(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    """What the report says about how it was made."""
    detection = settings.watch.detection
    return {
        "algorithm": str(settings.model.algorithm.type),
        "falseAlarmsPerWeek": detection.false_alarms_per_week,
        "direction": str(detection.direction),
        "inject": options.inject,
        "seed": options.seed,
    }


def _write_page(folder: Path, report: dict[str, Any], options: argparse.Namespace) -> None:
    parts = folder / PAGE_FOLDER
    if not parts.is_dir():
        return
    write_page(
        folder / PAGE, report, sorted(parts.iterdir()), time_zone=options.time_zone or "UTC"
    )
    shutil.rmtree(parts)


def _hint(options: argparse.Namespace) -> str:
    return "" if options.no_plots else f"; open {options.out / PAGE} in a browser"
