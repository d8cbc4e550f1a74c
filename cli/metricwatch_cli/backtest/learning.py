"""Learning the history of many recordings, for a model to keep."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from metricwatch_cli.backtest.meter import Meter, open_stream
from metricwatch_cli.backtest.problems import WrongInput
from metricwatch_cli.backtest.recordings import Recording, blocks_of
from metricwatch_cli.backtest.running import Job, Work, learn_one
from metricwatch_cli.backtest.settings import Settings
from metricwatch_cli.backtest.spreading import spread

_MOST_SHOWN = 5


@dataclass(frozen=True, slots=True)
class LearnedAll:
    """What was learned.

    Attributes:
        artifacts: all chunks.
        families: how many series each family has.
        left_out: a sentence for each column that could not be learned.
    """

    artifacts: tuple[bytes, ...]
    families: dict[str, int]
    left_out: tuple[str, ...]


def learn_all(
    recordings: Sequence[Recording], settings: Settings, options: argparse.Namespace
) -> LearnedAll:
    """Returns what the histories of the recordings teach.

    Raises:
        WrongInput: no series can be learned.
    """
    work = Work(settings=settings, folder=Path(), plots=False)
    jobs = [
        Job(tuple(block), tuple(recordings[number] for number in block), None, work)
        for block in blocks_of(recordings, jobs=options.jobs)
    ]
    amount = sum(job.to_learn for job in jobs)
    meter = Meter("train", amount, open_stream(wanted=options.progress))
    found = spread(learn_one, jobs, jobs=options.jobs, meter=meter)
    families: dict[str, int] = {}
    left_out: list[str] = []
    names = {
        labels: f"{one.title} {column}"
        for one in recordings
        for labels, column in zip(one.labels, one.columns, strict=True)
    }
    for taught in found:
        for learned in taught.learned:
            families[learned.family] = families.get(learned.family, 0) + 1
        left_out += [f"{names[one.labels]} {one.message}" for one in taught.left_out]
    artifacts = tuple(content for taught in found for content in taught.artifacts)
    if not artifacts:
        raise WrongInput("no series can be learned: " + "; ".join(left_out[:_MOST_SHOWN]))
    return LearnedAll(artifacts, families, tuple(left_out))
