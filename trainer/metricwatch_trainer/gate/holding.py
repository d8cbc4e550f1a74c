"""Which series are learned from the head of a history alone, so that they can be measured. Pure.

A series that began lately cannot be learned from without the tail. It is learned from all it has,
as if nothing were measured, because a version that does not know it would be worse. A system goes
one way as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from metricwatch.series import Labels
from metricwatch_trainer.preparation import Group


@dataclass(frozen=True, slots=True)
class Held:
    """The groups of a watch.

    Attributes:
        measured: learned from the head.
        others: learned from everything.
    """

    measured: tuple[Group, ...]
    others: tuple[Group, ...]

    @property
    def groups(self) -> tuple[Group, ...]:
        """All of them, those to be measured first."""
        return (*self.measured, *self.others)


def divide(whole: Sequence[Group], head: Sequence[Group], *, together: bool) -> Held:
    """Returns every series of `whole` exactly once: of `head` where it is there as well.

    Args:
        whole: groups over the whole history.
        head: groups over its head.
        together: all or nothing, for a family that learns from the labels of other series: a part
            of a group may have none.
    """
    wanted, possible = _units(whole), _units(head)
    both = {unit for unit, series in wanted.items() if possible.get(unit) == series}
    if together and len(both) < len(wanted):
        both = set()
    return Held(
        measured=_some(head, both, inside=True),
        others=_some(whole, both, inside=False),
    )


def _units(groups: Sequence[Group]) -> dict[Labels, frozenset[Labels]]:
    """Returns what cannot be divided, series or systems by their labels, and its series."""
    units: dict[Labels, set[Labels]] = {}
    for group in groups:
        for unit, labels in zip(_owners(group), group.panel.labels, strict=True):
            units.setdefault(unit, set()).add(labels)
    return {unit: frozenset(series) for unit, series in units.items()}


def _owners(group: Group) -> tuple[Labels, ...]:
    return group.panel.labels if group.systems is None else group.systems.owners()


def _some(groups: Sequence[Group], units: set[Labels], *, inside: bool) -> tuple[Group, ...]:
    found = []
    for group in groups:
        rows = np.flatnonzero([(unit in units) is inside for unit in _owners(group)])
        if len(rows) == len(group.panel.labels):
            found.append(group)
        elif len(rows):
            found.append(group.select(rows))
    return tuple(found)
