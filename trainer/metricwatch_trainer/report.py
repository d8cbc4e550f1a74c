"""What a run says about the version it made, as JSON (`models.report`).

What grows with the number of series is under `series`; everything else is short.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from metricwatch.assignments import TrainingWatch
from metricwatch.series import Grid, Labels
from metricwatch_trainer.learning import Learned
from metricwatch_trainer.preparation import LeftOut


@dataclass(slots=True)
class WatchReport:
    """What came of one watch.

    Attributes:
        watch: the watch.
        grid: what was asked for.
        found: series the query gave, this pod's only.
        beyond_limit: series beyond `maxSeries`.
        trained: series that are in the version.
        left_out: series that are not, with reasons.
        tuning: what the search for parameters brought, None without one.
        problem: why the whole watch is not, as (reason, message).
        notes: what a reader should know besides.
    """

    watch: TrainingWatch
    grid: Grid
    found: int = 0
    beyond_limit: int = 0
    trained: list[Learned] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    tuning: Mapping[str, Any] | None = None
    problem: tuple[str, str] | None = None
    notes: list[str] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Returns its short part as JSON values."""
        summary: dict[str, Any] = {
            "uid": self.watch.uid,
            "namespace": self.watch.namespace,
            "name": self.watch.name,
            "start": self.grid.start,
            "end": self.grid.end,
            "intervalSeconds": self.grid.step,
            "found": self.found,
            "beyondLimit": self.beyond_limit,
            "trained": len(self.trained),
            "leftOut": len(self.left_out),
            "notes": self.notes,
        }
        skills = [skill for one in self.trained if (skill := _skill(one)) is not None]
        if skills:
            summary["errorToPersistence"] = round(median(skills), 4)
        if self.tuning is not None:
            summary["tuning"] = dict(self.tuning)
        if self.problem is not None:
            summary["problem"] = {"reason": self.problem[0], "message": self.problem[1]}
        return summary


def build_report(
    watches: Sequence[WatchReport], *, requested: str, seconds: dict[str, float]
) -> dict[str, Any]:
    """Returns the report of a run.

    Args:
        watches: one for each watch.
        requested: `algorithm.type` of the model.
        seconds: how long each part of the run took.
    """
    families = Counter(one.family for watch in watches for one in watch.trained)
    return {
        "requested": requested,
        "family": next(iter(families)) if len(families) == 1 else requested,
        "families": dict(families.most_common()),
        "trained": sum(len(watch.trained) for watch in watches),
        "leftOut": sum(len(watch.left_out) for watch in watches),
        "watches": [watch.summary() for watch in watches],
        "seconds": {part: round(value, 3) for part, value in seconds.items()},
        "series": [row for watch in watches for row in _series(watch)],
    }


def explain_nothing_learned(watches: Sequence[WatchReport], *, most: int = 3) -> str:
    """Returns a sentence for people about a run in which no series could be learned from."""
    reasons = [
        f"watch {watch.watch.name}: {watch.problem[1]}" for watch in watches if watch.problem
    ]
    for watch in watches:
        if watch.problem is None and watch.found == 0:
            reasons.append(f"watch {watch.watch.name}: the query gives no series")
        reasons.extend(
            f"watch {watch.watch.name}: {_shown(one.labels)} {one.message}"
            for one in watch.left_out
        )
    more = f" … and {len(reasons) - most} more" if len(reasons) > most else ""
    return f"no series can be learned from: {'; '.join(reasons[:most])}{more}"


def _series(watch: WatchReport) -> list[dict[str, Any]]:
    trained = [
        {
            "watch": watch.watch.uid,
            "labels": dict(one.labels),
            "family": one.family,
            "samples": one.samples,
            "rmse": one.rmse,
            "persistenceRmse": one.persistence_rmse,
            "normalWithin": one.normal_within,
        }
        | ({} if one.gain is None else {"gain": round(one.gain, 4)})
        for one in watch.trained
    ]
    left_out = [
        {
            "watch": watch.watch.uid,
            "labels": dict(one.labels),
            "samples": one.samples,
            "leftOut": {"reason": one.reason, "message": one.message},
        }
        for one in watch.left_out
    ]
    return [*trained, *left_out]


def _skill(one: Learned) -> float | None:
    """Returns the error as a share of that of taking the last sample for the next."""
    if one.rmse is None or not one.persistence_rmse:
        return None
    return one.rmse / one.persistence_rmse


def _shown(labels: Labels) -> str:
    name = dict(labels).get("__name__", "")
    inner = ", ".join(f'{key}="{value}"' for key, value in labels if key != "__name__")
    return f"{name}{{{inner}}}"
