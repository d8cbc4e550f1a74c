"""Learning the history of many recordings, for a model to keep."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from metricwatch_cli.backtest.meter import Meter, open_stream
from metricwatch_cli.backtest.problems import WrongInput
from metricwatch_cli.backtest.recordings import Recording
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
    jobs = [Job(number, one, None, work) for number, one in enumerate(recordings)]
    amount = sum(job.to_learn for job in jobs)
    meter = Meter("train", amount, len(jobs), open_stream(wanted=options.progress))
    found = spread(learn_one, jobs, jobs=options.jobs, meter=meter)
    families: dict[str, int] = {}
    left_out: list[str] = []
    for recording, taught in zip(recordings, found, strict=True):
        for one in taught.learned:
            families[one.family] = families.get(one.family, 0) + 1
        names = dict(zip(recording.labels, recording.columns, strict=True))
        left_out += [
            f"{recording.title} {names[one.labels]}: {one.message}" for one in taught.left_out
        ]
    artifacts = tuple(content for taught in found for content in taught.artifacts)
    if not artifacts:
        raise WrongInput("no series can be learned: " + "; ".join(left_out[:_MOST_SHOWN]))
    return LearnedAll(artifacts, families, tuple(left_out))
