"""From the series of a watch to systems that are learned as a whole. Pure.

Series that agree on the labels of `groupBy` make one system, and a system is never cut: all of its
channels are learned together and scored together. It has labels of its own, because anomalies are
its own and not those of a channel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from metricwatch.artifact import MOST_SERIES
from metricwatch.series import Labels, Panel, labels_from
from metricwatch_trainer.preparation import (
    LEAST_TAIL,
    Group,
    LeftOut,
    Stretch,
    Systems,
    head_of,
    too_few,
    windows,
    without_stretches,
)

TOO_LARGE = "SystemTooLarge"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a group may hold.

    Attributes:
        least_samples: `minSamples` of the model.
        most_series: in a group of several systems.
        most_values: series times ticks; a system that is larger by itself gets a shorter window.
    """

    least_samples: int
    most_series: int
    most_values: int


def systems_of(labels: Sequence[Labels], group_by: Sequence[str], *, name: str) -> Systems:
    """Returns which system each series belongs to, and what the systems are called.

    A system has the labels of `group_by` that its series have. Without any it is called after its
    watch; the same is added where a series is already called so, for a store knows both by labels.

    Args:
        labels: of the series.
        group_by: names of labels; none makes one system of all.
        name: of the watch.

    >>> pods = [(("pod", "a"), ("zone", "x")), (("pod", "b"), ("zone", "x"))]
    >>> systems_of(pods, ["zone"], name="cpu").labels
    ((('zone', 'x'),),)
    >>> systems_of(pods, [], name="cpu").labels
    ((('system', 'cpu'),),)
    """
    wanted = set(group_by)
    keys = [tuple(pair for pair in one if pair[0] in wanted) for one in labels]
    systems = sorted(set(keys))
    number = {key: position for position, key in enumerate(systems)}
    taken = set(labels)
    named = []
    for key in systems:
        named.append(_named(key, name, taken))
        taken.add(named[-1])
    return Systems(
        members=np.array([number[key] for key in keys], np.int64),
        labels=tuple(named),
    )


def _named(key: Labels, name: str, taken: set[Labels]) -> Labels:
    found, own = key, name
    while not found or found in taken:
        found = labels_from(dict(key) | {"system": own})
        own += "'"
    return found


def for_channels(
    stretches: Iterable[Stretch], labels: Sequence[Labels], systems: Systems
) -> Iterator[Stretch]:
    """Yields the stretches, those of a system as one for each of its channels."""
    channels: dict[Labels, list[Labels]] = {}
    for one, owner in zip(labels, systems.owners(), strict=True):
        channels.setdefault(owner, []).append(one)
    for stretch in stretches:
        of_system = channels.get(stretch.labels, ()) if stretch.labels is not None else ()
        if of_system:
            yield from (replace(stretch, labels=one) for one in of_system)
        else:
            yield stretch


def group_watch(
    panel: Panel,
    blank: Iterable[Stretch],
    limits: Limits,
    *,
    group_by: Sequence[str],
    name: str,
) -> tuple[tuple[Group, ...], tuple[LeftOut, ...]]:
    """Returns groups of the systems of a watch, and the series that are in none with a reason.

    Args:
        panel: history, gaps filled.
        blank: what teaches nothing; what belongs to a system belongs to all of its channels.
        limits: of a group.
        group_by: as for `systems_of`.
        name: of the watch.
    """
    systems = systems_of(panel.labels, group_by, name=name)
    stretches = for_channels(blank, panel.labels, systems)
    return group_systems(without_stretches(panel, stretches), systems, limits)


def group_systems(
    panel: Panel, systems: Systems, limits: Limits
) -> tuple[tuple[Group, ...], tuple[LeftOut, ...]]:
    """Returns groups of whole systems, and the series that are in none with a reason.

    A system is learned from the window that the first of its channels fills; one that came later
    is missing until then.

    Args:
        panel: history, gaps filled, excluded stretches NaN.
        systems: of its series.
        limits: of a group.
    """
    known = ~np.isnan(panel.values)
    samples = np.count_nonzero(known, axis=1)
    lately = np.count_nonzero(known[:, head_of(panel.grid.count) :], axis=1)
    usable = (samples >= limits.least_samples) & (lately >= LEAST_TAIL // 2)
    sizes = np.bincount(systems.members[usable], minlength=len(systems.labels))
    fits = usable & (sizes <= MOST_SERIES)[systems.members]
    left_out = tuple(
        _why_not(panel.labels[row], int(samples[row]), int(sizes[systems.members[row]]), limits)
        for row in np.flatnonzero(~fits)
    )
    groups = []
    for ticks, rows in _by_window(known, fits, systems.members):
        for own, count in _packed(rows, systems.members, ticks, limits):
            window = panel.grid.part(panel.grid.count - count, count)
            part = panel.select(own).window(window)
            groups.append(Group(panel=part, head=head_of(count), systems=systems.select(own)))
    return tuple(groups), left_out


def _by_window(
    known: NDArray[np.bool_], fits: NDArray[np.bool_], members: NDArray[np.int64]
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yields for each length of window the series of the systems that fill it, by system."""
    rows = np.flatnonzero(fits)
    rows = rows[np.argsort(members[rows], kind="stable")]
    if not len(rows):
        return
    present, first = np.unique(members[rows], return_index=True)
    anything = np.logical_or.reduceat(known[rows], first, axis=0)
    for ticks, some in windows(anything, np.ones(len(present), np.bool_)):
        yield ticks, rows[np.isin(members[rows], present[some])]


def _packed(
    rows: NDArray[np.int64], members: NDArray[np.int64], ticks: int, limits: Limits
) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Yields series of whole systems, as many as a group holds, and how many ticks of them."""
    most = min(limits.most_series, max(1, limits.most_values // ticks))
    pending: list[NDArray[np.int64]] = []
    for system in np.split(rows, np.flatnonzero(np.diff(members[rows])) + 1):
        if pending and sum(map(len, pending)) + len(system) > most:
            yield np.concatenate(pending), ticks
            pending = []
        if len(system) > most:
            yield system, max(1, limits.most_values // len(system))
        else:
            pending.append(system)
    if pending:
        yield np.concatenate(pending), ticks


def _why_not(labels: Labels, samples: int, size: int, limits: Limits) -> LeftOut:
    if samples < limits.least_samples:
        return too_few(labels, samples, limits.least_samples)
    if size > MOST_SERIES:
        message = (
            f"belongs to a system of {size} series, and {MOST_SERIES} is the most: divide it by "
            "spec.groupBy of the watch"
        )
        return LeftOut(labels=labels, samples=samples, reason=TOO_LARGE, message=message)
    message = f"has {samples} samples, but hardly any in the latest part of the window"
    return LeftOut(labels=labels, samples=samples, reason="TooSparse", message=message)
