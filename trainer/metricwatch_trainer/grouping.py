"""From the history of a watch to the groups that its model is learned from. Pure.

Scope and family decide how series are grouped; what cannot be learned from is in the report.
"""

from __future__ import annotations

from collections.abc import Sequence

from metricwatch.assignments import TrainingRequest
from metricwatch.resources.conditions import Reason
from metricwatch.resources.training import Scope
from metricwatch.series import Panel, fill_gaps
from metricwatch_trainer.learning import Lesson
from metricwatch_trainer.preparation import (
    Flags,
    Group,
    Stretch,
    group_series,
    with_labels,
    without_stretches,
)
from metricwatch_trainer.report import WatchReport
from metricwatch_trainer.systems import TOO_LARGE, Limits, group_watch

_GAP_SAMPLES = 5
_GROUP_SERIES = 1000
_GROUP_POINTS = 1_500_000
_SYSTEM_POINTS = 10_000_000


def groups_of(
    panel: Panel,
    request: TrainingRequest,
    lesson: Lesson,
    blank: Sequence[Stretch],
    report: WatchReport,
    *,
    labels: Flags | None,
) -> tuple[Group, ...]:
    """Returns what can be learned from; the report says what cannot.

    Args:
        panel: the history as it was read.
        request: says how gaps are filled and how many samples a series needs.
        lesson: says what the family needs.
        blank: what teaches nothing.
        report: of the watch.
        labels: bool[S, T] for a family that learns from labels.
    """
    training = request.training
    values = fill_gaps(panel.values, policy=training.missing.value, longest=_GAP_SAMPLES)
    filled = Panel(grid=panel.grid, labels=panel.labels, values=values)
    if request.scope is Scope.MULTIVARIATE:
        return _systems(filled, blank, training.min_samples, report)
    groups, report.left_out[:] = group_series(
        without_stretches(filled, blank),
        least_samples=training.min_samples,
        least_to_fit=lesson.family.minimum_samples(lesson.parameters),
        largest_group=min(_GROUP_SERIES, max(1, _GROUP_POINTS // panel.grid.count)),
        labels=labels,
    )
    if labels is None:
        return groups
    usable, without = with_labels(groups)
    report.left_out += without
    if without and not usable:
        report.problem = (Reason.NO_LABELS, _no_labels(lesson))
    return usable


def _systems(
    filled: Panel, blank: Sequence[Stretch], least_samples: int, report: WatchReport
) -> tuple[Group, ...]:
    """Returns whole systems; the report says what is in none."""
    watch = report.watch
    groups, report.left_out[:] = group_watch(
        filled,
        blank,
        Limits(least_samples, most_series=_GROUP_SERIES, most_values=_SYSTEM_POINTS),
        group_by=watch.group_by,
        name=watch.name,
    )
    large = [one for one in report.left_out if one.reason == TOO_LARGE]
    if large:
        report.problem = (TOO_LARGE, f"{len(large)} series are left out: {large[0].message}")
    if any(len(group.panel.labels) * filled.grid.count > _SYSTEM_POINTS for group in groups):
        report.notes.append("large systems are learned from the latest part of the window")
    return groups


def _no_labels(lesson: Lesson) -> str:
    return (
        f"{lesson.family.name} learns from recorded anomalies, and none lies where it could be "
        "learned from: train with another algorithm first, such as auto, and ask for this one "
        "when some are recorded, or lengthen training.window"
    )
