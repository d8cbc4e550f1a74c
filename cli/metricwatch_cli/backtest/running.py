"""What one worker does with one recording: learn, walk, compare, write."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metricwatch.injection import LEAST_SAMPLES, inject
from metricwatch_cli.backtest.detections import write_detections
from metricwatch_cli.backtest.discovery import File
from metricwatch_cli.backtest.judging import Tally, tally_injected
from metricwatch_cli.backtest.outcome import Outcome, describe
from metricwatch_cli.backtest.pagedata import page_series
from metricwatch_cli.backtest.plots import write_plot
from metricwatch_cli.backtest.problems import WrongFile
from metricwatch_cli.backtest.reading import Layout, read_recording
from metricwatch_cli.backtest.recordings import Flags, Recording
from metricwatch_cli.backtest.settings import Settings
from metricwatch_cli.backtest.spreading import Pulse
from metricwatch_cli.backtest.walking import Taught, policy_for, teach, walk

PAGE_FOLDER = ".page"
_LEARNING = 1.0
"""Work of learning one sample, in that of scoring one."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A file that is to be read."""

    file: File
    layout: Layout


@dataclass(frozen=True, slots=True)
class Work:
    """What is wanted of each recording.

    Attributes:
        settings: how to learn and judge.
        folder: where to write detections, plots and data of the page.
        plots: draw PNG files.
        page: write data for the page, with at most so many points a column; 0 for none.
        inject: anomalies to put into each column, in a second walk.
        seed: of what is put in.
    """

    settings: Settings
    folder: Path
    plots: bool = True
    page: int = 0
    inject: int = 0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """One recording.

    Attributes:
        number: among all.
        recording: what is walked through.
        artifacts: what was learned before; None learns the history first.
        work: what is wanted.
    """

    number: int
    recording: Recording
    artifacts: tuple[bytes, ...] | None
    work: Work

    @property
    def amount(self) -> float:
        """How much work it is."""
        return self.to_learn + self.to_walk * (2 if self.work.inject else 1)

    @property
    def to_learn(self) -> float:
        """The part of it that is learning."""
        return _LEARNING * self.recording.history if self.artifacts is None else 0.0

    @property
    def to_walk(self) -> float:
        """The part of it that is one walk."""
        return float(self.recording.grid.count - self.recording.history)


def read_file(reading: Reading, pulse: Pulse) -> Recording | str:
    """Returns the recording of a file, or what is wrong with it."""
    file = reading.file
    try:
        recording = read_recording(file.path, reading.layout, dataset=file.dataset, name=file.name)
    except WrongFile as error:
        return str(error)
    pulse.told(1.0)
    return recording


def learn_one(job: Job, pulse: Pulse) -> Taught:
    """Returns what was learned of the history of a recording."""
    return _learn(job, pulse)


def run_one(job: Job, pulse: Pulse) -> Outcome:
    """Walks through one recording and writes what belongs to it alone."""
    began = time.monotonic()
    recording, work = job.recording, job.work
    artifacts = job.artifacts
    notes: tuple[str, ...] = ()
    if artifacts is None:
        taught = _learn(job, pulse)
        artifacts, notes = taught.artifacts, _left_out(taught, recording)
    policy = policy_for(work.settings, recording.grid.step)
    walked = walk(
        artifacts,
        recording,
        policy,
        told=_share_of(pulse, job.to_walk),
        should_stop=pulse.should_stop,
    )
    injected, more = _try_injected(job, artifacts, pulse) if work.inject else ({}, ())
    if recording.rows.count:
        write_detections(work.folder, recording, walked)
        if work.plots:
            picture = work.folder / "plots" / recording.dataset / f"{recording.name}.png"
            write_plot(picture, recording, walked)
    outcome = describe(
        recording,
        walked,
        injected=injected,
        notes=(*notes, *more),
        seconds=time.monotonic() - began,
    )
    if work.page:
        data = page_series(recording, walked, outcome, most_points=work.page)
        target = work.folder / PAGE_FOLDER / f"{job.number:06}.json"
        target.parent.mkdir(exist_ok=True)
        target.write_text(json.dumps(data, allow_nan=False, separators=(",", ":")))
    return outcome


def _learn(job: Job, pulse: Pulse) -> Taught:
    """Learns, and tells of all of that work even if the family told of nothing."""
    told = 0.0

    def tell(share: float) -> None:
        nonlocal told
        told += share
        pulse.told(share * job.to_learn)

    taught = teach(
        job.recording.learned_from,
        job.work.settings,
        told=tell,
        should_stop=pulse.should_stop,
    )
    tell(1.0 - told)
    return taught


def _share_of(pulse: Pulse, amount: float) -> Callable[[float], None]:
    return lambda share: pulse.told(share * amount)


def _left_out(taught: Taught, recording: Recording) -> tuple[str, ...]:
    """A sentence for each column that could not be learned."""
    names = dict(zip(recording.labels, recording.columns, strict=True))
    return tuple(
        f"{names[one.labels]} {one.message}; it is scored as a new series is, by what learns "
        "while it scores"
        for one in taught.left_out
    )


def _try_injected(
    job: Job, artifacts: Sequence[bytes], pulse: Pulse
) -> tuple[Mapping[str, Tally], tuple[str, ...]]:
    """Returns counts by kind of a walk through the same samples with anomalies put in."""
    recording, work = job.recording, job.work
    ahead = recording.walked
    count = min(work.inject, ahead.grid.count // LEAST_SAMPLES)
    if count == 0:
        return {}, ("too short to put anomalies in",)
    known = _known(recording)
    made = inject(
        ahead.values,
        count=count,
        seed=work.seed + job.number,
        reference=recording.learned_from.values if recording.history else None,
        avoid=np.broadcast_to(known, ahead.values.shape),
    )
    walked = walk(
        artifacts,
        recording.walking(made.values),
        policy_for(work.settings, recording.grid.step),
        told=_share_of(pulse, job.to_walk),
        should_stop=pulse.should_stop,
    )
    parts: dict[str, list[Tally]] = {}
    for column, alarm in enumerate(walked.alarm):
        of_column = [one for one in made.events if one.series == column]
        tallies = tally_injected(
            alarm,
            of_column,
            ahead.grid.timestamps(),
            interval=ahead.grid.step,
            known=known,
        )
        for kind, tally in tallies.items():
            parts.setdefault(kind, []).append(tally)
    summed = {kind: Tally.total(tallies) for kind, tallies in parts.items()}
    fewer = f"only {count} anomalies fit into each column" if count < work.inject else ""
    return {kind: one for kind, one in summed.items() if one}, (fewer,) if fewer else ()


def _known(recording: Recording) -> Flags:
    """Returns bool[T]: ticks after the history that somebody labelled."""
    flags = np.zeros(recording.grid.count - recording.history, np.bool_)
    if recording.rows.truth is not None:
        flags[recording.rows.ticks[recording.rows.truth] - recording.history] = True
    return flags
