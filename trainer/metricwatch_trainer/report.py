"""What a run says about the version it made, as JSON (`models.report`).

What grows with the number of series is under `series`; everything else is short.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Protocol

from metricwatch.assignments import TrainingWatch
from metricwatch.series import Grid
from metricwatch_trainer.learning import Learned
from metricwatch_trainer.preparation import LeftOut


class ToldWatch(Protocol):
    """What a report says of one watch, whoever learned it."""

    @property
    def watch(self) -> TrainingWatch:
        """The watch."""

    def summary(self) -> dict[str, Any]:
        """Returns its short part as JSON values."""

    def rows(self) -> list[dict[str, Any]]:
        """Returns its long part, one entry for each series."""


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
        skill = skill_of(self.rows())
        if skill is not None:
            summary["errorToPersistence"] = skill
        if self.tuning is not None:
            summary["tuning"] = dict(self.tuning)
        if self.problem is not None:
            summary["problem"] = {"reason": self.problem[0], "message": self.problem[1]}
        return summary

    def rows(self) -> list[dict[str, Any]]:
        """Returns its long part, one entry for each series."""
        return _series(self)


def build_report(
    watches: Sequence[ToldWatch],
    *,
    requested: str,
    seconds: dict[str, float],
    peak_bytes: int = 0,
) -> dict[str, Any]:
    """Returns the report of a run.

    Args:
        watches: one for each watch.
        requested: `algorithm.type` of the model.
        seconds: how long each part of the run took.
        peak_bytes: most memory that the pod held.
    """
    summaries = [watch.summary() for watch in watches]
    series = [row for watch in watches for row in watch.rows()]
    families = Counter(row["family"] for row in series if "leftOut" not in row)
    return {
        "requested": requested,
        "family": next(iter(families)) if len(families) == 1 else requested,
        "families": dict(families.most_common()),
        "trained": sum(one["trained"] for one in summaries),
        "leftOut": sum(one["leftOut"] for one in summaries),
        "shards": 1,
        "watches": summaries,
        "seconds": {part: round(value, 3) for part, value in seconds.items()},
        "peakBytes": peak_bytes,
        "series": series,
    }


def explain_nothing_learned(report: Mapping[str, Any], *, most: int = 3) -> str:
    """Returns a sentence for people about a run in which no series could be learned from."""
    reasons = []
    for watch in report["watches"]:
        name, problem = watch["name"], watch.get("problem")
        if problem is not None:
            reasons.append(f"watch {name}: {problem['message']}")
        elif watch["found"] == 0:
            reasons.append(
                f"watch {name}: the query gives no series: correct it, or ask the source why"
            )
    names = {watch["uid"]: watch["name"] for watch in report["watches"]}
    reasons.extend(
        f"watch {names[row['watch']]}: {shown_labels(row['labels'])} {row['leftOut']['message']}"
        for row in report["series"]
        if "leftOut" in row
    )
    more = f" … and {len(reasons) - most} more" if len(reasons) > most else ""
    return f"no series can be learned from: {'; '.join(reasons[:most])}{more}"


def skill_of(series: Iterable[Mapping[str, Any]]) -> float | None:
    """Returns the median error as a share of that of taking the last sample for the next.

    Args:
        series: rows of a report; None when no row has both errors.
    """
    shares = [
        row["rmse"] / row["persistenceRmse"]
        for row in series
        if row.get("rmse") is not None and row.get("persistenceRmse")
    ]
    return round(median(shares), 4) if shares else None


def shown_labels(labels: Mapping[str, str]) -> str:
    """Returns labels as Prometheus writes them."""
    name = labels.get("__name__", "")
    inner = ", ".join(f'{key}="{value}"' for key, value in labels.items() if key != "__name__")
    return f"{name}{{{inner}}}"


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
