"""How many watches one model takes.

A model is looked at, asked about and trained as a whole, so whoever may write watches could make
one of any size. Those that are watched already stay, then the oldest come first: a watch that
comes late is turned away, and none is pushed out by it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from metricwatch.resources import MOST_WATCHES, Reason
from metricwatch_operator.objects import Manifest
from metricwatch_operator.observed import Problem


def turned_away(watches: Sequence[Manifest], *, known: Collection[str]) -> frozenset[str]:
    """The uids of the watches that a model does not take.

    Args:
        watches: All that refer to it.
        known: uids of those that it watches already.
    """
    if len(watches) <= MOST_WATCHES:
        return frozenset()

    def rank(watch: Manifest) -> tuple[bool, str, str]:
        metadata = watch["metadata"]
        created = str(metadata.get("creationTimestamp", ""))
        return metadata["uid"] not in known, created, str(metadata["name"])

    return frozenset(
        str(one["metadata"]["uid"]) for one in sorted(watches, key=rank)[MOST_WATCHES:]
    )


def too_many(model: str) -> Problem:
    """What a watch that is turned away is told: the same whoever comes after it."""
    return Problem(
        Reason.TOO_MANY_WATCHES,
        f"model {model} takes {MOST_WATCHES} watches and has as many without this one: "
        "name another model in spec.modelRef, put queries of one interval together in one watch "
        "(spec.queries), or delete watches that nobody needs",
    )
