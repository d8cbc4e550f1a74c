"""What one worker does with some recordings: learn, walk, compare, write."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from metricwatch.injection import LEAST_SAMPLES, Injection, in_turn, inject
from metricwatch_cli.backtest.detections import write_detections
from metricwatch_cli.backtest.discovery import File
from metricwatch_cli.backtest.judging import Tally, tally_injected
from metricwatch_cli.backtest.outcome import Outcome, describe
from metricwatch_cli.backtest.pagedata import page_series
from metricwatch_cli.backtest.plots import write_plot
from metricwatch_cli.backtest.problems import WrongFile
from metricwatch_cli.backtest.reading import Layout, read_recording
from metricwatch_cli.backtest.recordings import Recording, stack
from metricwatch_cli.backtest.settings import Settings
from metricwatch_cli.backtest.spreading import Pulse
from metricwatch_cli.backtest.teaching import Taught, teach
from metricwatch_cli.backtest.walking import Walk, policy_for, walk
from metricwatch_trainer.preparation import LeftOut

PAGE_FOLDER = ".page"
_COLUMNS_IN_A_TICK = 50.0
"""A tick costs as much again for each so many columns."""


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
    """Recordings of one grid and history, which are walked through together.

    Attributes:
        numbers: of the recordings, among all.
        recordings: what is walked through.
        artifacts: what was learned before; None learns the history first.
        work: what is wanted.
    """

    numbers: tuple[int, ...]
    recordings: tuple[Recording, ...]
    artifacts: tuple[bytes, ...] | None
    work: Work

    @property
    def amount(self) -> float:
        """How much work it is, in samples."""
        return self.to_learn + self.to_walk * (2 if self.work.inject else 1)

    @property
    def to_learn(self) -> float:
        """The part of it that is learning."""
        return float(self.recordings[0].history) if self.artifacts is None else 0.0

    @property
    def to_walk(self) -> float:
        """The part of it that is one walk; a tick of many series costs that of a few."""
        first = self.recordings[0]
        columns = sum(len(one.columns) for one in self.recordings)
        return (first.grid.count - first.history) * (1.0 + columns / _COLUMNS_IN_A_TICK)


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
    """Returns what was learned of the histories of some recordings."""
    return _learn(job, pulse)


def run_one(job: Job, pulse: Pulse) -> list[Outcome]:
    """Walks through some recordings and writes what belongs to each of them alone."""
    began = time.monotonic()
    artifacts = job.artifacts
    left_out: tuple[LeftOut, ...] = ()
    if artifacts is None:
        taught = _learn(job, pulse)
        artifacts, left_out = taught.artifacts, taught.left_out
    walks = _walk(job, job.recordings, artifacts, pulse)
    tried = try_injected(job, artifacts, pulse) if job.work.inject else [Tried()] * len(walks)
    seconds = (time.monotonic() - began) / len(walks)
    return [
        _write(
            job.work,
            number,
            recording,
            walked,
            describe(
                recording,
                walked,
                injected=injected.tallies,
                notes=(*_left_out(left_out, recording), *injected.notes),
                seconds=seconds,
            ),
        )
        for number, recording, walked, injected in zip(
            job.numbers, job.recordings, walks, tried, strict=True
        )
    ]


def _walk(
    job: Job, recordings: Sequence[Recording], artifacts: Sequence[bytes], pulse: Pulse
) -> list[Walk]:
    """Returns the walk through each recording."""
    whole = walk(
        artifacts,
        stack(recordings),
        policy_for(job.work.settings, recordings[0].grid.step),
        told=lambda share: pulse.told(share * job.to_walk),
        should_stop=pulse.should_stop,
    )
    walks, first = [], 0
    for one in recordings:
        walks.append(whole.part(first, len(one.columns)))
        first += len(one.columns)
    return walks


def _write(
    work: Work, number: int, recording: Recording, walked: Walk, outcome: Outcome
) -> Outcome:
    """Writes detections, the plot and data of the page; returns the outcome."""
    if recording.rows.count:
        write_detections(work.folder, recording, walked)
        if work.plots:
            picture = work.folder / "plots" / recording.dataset / f"{recording.name}.png"
            write_plot(picture, recording, walked)
    if work.page:
        data = page_series(recording, walked, outcome, most_points=work.page)
        target = work.folder / PAGE_FOLDER / f"{number:06}.json"
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
        stack(job.recordings),
        job.work.settings,
        told=tell,
        should_stop=pulse.should_stop,
    )
    tell(1.0 - told)
    return taught


def _left_out(left_out: Sequence[LeftOut], recording: Recording) -> tuple[str, ...]:
    """A sentence for each column that could not be learned."""
    names = dict(zip(recording.labels, recording.columns, strict=True))
    return tuple(
        f"{names[one.labels]} {one.message}; it is scored as a new series is, by what learns "
        "while it scores"
        for one in left_out
        if one.labels in names
    )


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of anomalies that were put into a recording.

    Attributes:
        tallies: counts by kind.
        notes: why there are fewer than asked for.
    """

    tallies: Mapping[str, Tally] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def try_injected(job: Job, artifacts: Sequence[bytes], pulse: Pulse) -> list[Tried]:
    """Walks through the same samples with anomalies put in; returns what was found of each."""
    count = min(job.work.inject, job.recordings[0].walked.grid.count // LEAST_SAMPLES)
    if count == 0:
        return [Tried(notes=("too short to put anomalies in",))] * len(job.recordings)
    made = [
        _injected(one, count, job.work.seed + number)
        for number, one in zip(job.numbers, job.recordings, strict=True)
    ]
    changed = [
        one.walking(injection.values) for one, injection in zip(job.recordings, made, strict=True)
    ]
    walks = _walk(job, changed, artifacts, pulse)
    short = count < job.work.inject
    notes = (f"only {count} made-up anomalies fit into each column",) if short else ()
    return [
        Tried(_tallies(one, injection, walked), notes)
        for one, injection, walked in zip(job.recordings, made, walks, strict=True)
    ]


def _injected(recording: Recording, count: int, seed: int) -> Injection:
    ahead = recording.walked
    made = inject(
        ahead.values,
        count=count,
        seed=seed,
        reference=recording.learned_from.values if recording.history else None,
        avoid=recording.known[:, recording.history :],
    )
    return in_turn(made, ahead.values) if recording.systems else made


def _tallies(recording: Recording, made: Injection, walked: Walk) -> dict[str, Tally]:
    """Returns counts by kind over all columns."""
    ahead = recording.walked
    parts: dict[str, list[Tally]] = {}
    if recording.systems:
        return tally_injected(
            np.asarray(walked.alarm.any(axis=0)),
            made.events,
            ahead.grid.timestamps(),
            interval=ahead.grid.step,
            known=recording.known[0, recording.history :],
        )
    for column, alarm in enumerate(walked.alarm):
        tallies = tally_injected(
            alarm,
            [one for one in made.events if one.series == column],
            ahead.grid.timestamps(),
            interval=ahead.grid.step,
            known=recording.known[column, recording.history :],
        )
        for kind, tally in tallies.items():
            parts.setdefault(kind, []).append(tally)
    return {kind: one for kind, tallies in parts.items() if (one := Tally.total(tallies))}
