"""Which watches a version takes over from the one that serves, instead of learning them. Pure.

A watch that came or changed says nothing about the others: what was learned of them is right
still. Whoever asks for a run for another reason wants everything learned anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from metricwatch.assignments import TrainingRequest, TrainingWatch
from metricwatch.resources.training import Scope
from metricwatch.series import Labels, labels_from, shard_of
from metricwatch.store.rows import Artifact, Slice, Version
from metricwatch_trainer.report import ToldWatch, skill_of
from metricwatch_trainer.systems import systems_of

Row = Mapping[str, Any]

FROM = "from"
"""Of what was taken over, in a report: the version that learned it."""
_ABOUT_WATCHES = ("WatchesAdded", "SpecChanged")
"""Reasons of versions that changed watches may be behind. `Retry` does not say of what."""


@dataclass(frozen=True, slots=True)
class TakenWatch:
    """A watch that the serving version has learned, as far as it is this pod's.

    Attributes:
        watch: the watch.
        version: number of the serving version.
        told: its summary in the report of that version.
        series: what that report says of each series.
        artifacts: the chunks that hold them.
    """

    watch: TrainingWatch
    version: int
    told: Row
    series: Sequence[Row]
    artifacts: Sequence[Artifact]

    @property
    def learned_by(self) -> int:
        """The version that learned it: the serving one may have taken it over itself."""
        return int(self.told.get(FROM, self.version))

    def summary(self) -> dict[str, Any]:
        """Returns its short part as JSON values; `from` is the version that learned it."""
        trained = sum("leftOut" not in row for row in self.series)
        summary = dict(self.told) | {
            FROM: self.learned_by,
            "found": len(self.series),
            "trained": trained,
            "leftOut": len(self.series) - trained,
        }
        # The version may have had several pods, and this is one of several.
        summary.pop("errorToPersistence", None)
        skill = skill_of(self.series)
        return summary if skill is None else summary | {"errorToPersistence": skill}

    def rows(self) -> list[dict[str, Any]]:
        """Returns its long part, one entry for each series."""
        return [{FROM: self.version} | dict(row) for row in self.series]


def watches_taken_over(
    version: Version,
    serving: Version | None,
    request: TrainingRequest,
    *,
    shards: int,
    from_labels: bool,
) -> tuple[TrainingWatch, ...]:
    """Returns the watches of a request that the serving version has learned already.

    None of them when nothing else is left to learn: the version was not made for its watches then.

    Args:
        version: the new one.
        serving: None when nothing serves. Its report may lack its series.
        request: of the new version.
        shards: in how many slices it is learned.
        from_labels: its family learns from recorded anomalies, of which there are others by now.
    """
    if version.reason not in _ABOUT_WATCHES or serving is None or serving.report is None:
        return ()
    if from_labels or request.scope is Scope.SHARED or serving.report.get("shards") != shards:
        return ()
    before = _each_alone(serving)
    told = {one["uid"]: one for one in serving.report.get("watches", ())}
    taken = tuple(
        watch
        for watch in request.watches
        if before.get(watch.uid) == _alone(request, watch) and _was_learned(told.get(watch.uid))
    )
    return taken if len(taken) < len(request.watches) else ()


def rows_of(
    report: Row, watch: TrainingWatch, *, scope: Scope, part: Slice
) -> tuple[dict[str, Any], ...]:
    """Returns what a complete report says of the series of a watch that are one pod's."""
    rows = [row for row in report.get("series", ()) if row["watch"] == watch.uid]
    if part.shards == 1:
        return tuple(rows)
    labels = [labels_from(row["labels"]) for row in rows]
    owners: Sequence[Labels] = labels
    if scope is Scope.MULTIVARIATE:
        owners = systems_of(labels, watch.group_by, name=watch.name).owners()
    return tuple(
        row
        for row, owner in zip(rows, owners, strict=True)
        if shard_of(owner, part.shards) == part.shard
    )


def in_order(request: TrainingRequest, watches: Iterable[ToldWatch]) -> list[ToldWatch]:
    """Returns watches as the request has them: the pods of a run tell of them in one order."""
    place = {watch.uid: number for number, watch in enumerate(request.watches)}
    return sorted(watches, key=lambda one: place[one.watch.uid])


def are_complete(labels: Iterable[Labels], rows: Iterable[Row]) -> bool:
    """Returns whether chunks hold those series that a report tells of, and no other.

    Args:
        labels: of the series in the chunks.
        rows: what the report says of each series.
    """
    wanted = (labels_from(row["labels"]) for row in rows if "leftOut" not in row)
    return sorted(labels) == sorted(wanted)


def _each_alone(version: Version) -> dict[str, str]:
    """Returns by watch what a version learned it by; nothing that this release cannot read."""
    try:
        request = TrainingRequest.from_row(version.request)
    except ValidationError:
        return {}
    return {watch.uid: _alone(request, watch) for watch in request.watches}


def _alone(request: TrainingRequest, watch: TrainingWatch) -> str:
    """Returns the fingerprint of a request for one watch: of all that it is learned by."""
    return request.model_copy(update={"watches": (watch,)}).fingerprint()


def _was_learned(told: Row | None) -> bool:
    """Returns whether a summary is of a watch that gave something and had no problem."""
    return told is not None and told.get("trained", 0) > 0 and told.get("problem") is None
