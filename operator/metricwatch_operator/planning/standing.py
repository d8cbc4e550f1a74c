"""Which version serves, which one is next in line, and which one may have to come back.

```
serving ◄── contender    a candidate in the normal way, or what spec.version names
   │
   └─────► fallback      what it took over from, while rollout.rollbackWindow runs
```

Where nothing else is said the newest good version is next in line: trained for what is wanted now,
newer than the one that serves, and neither refused nor rolled back. A version that was given up
for another one, or retired by a pin, is good still.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from metricwatch.assignments import TrainingRequest
from metricwatch.resources import AnomalyModelSpec, Reason, VersionState
from metricwatch.store.rows import ModelOverview, Version
from metricwatch_operator.observed import Problem
from metricwatch_operator.planning.answering import IMPORTED, answers

_GOOD = (VersionState.CANDIDATE, VersionState.RETIRED)
_MAY_BE_PINNED = (VersionState.CANDIDATE, VersionState.RETIRED, VersionState.REJECTED)
_SERVABLE = (*_MAY_BE_PINNED, VersionState.SERVING)
_MAY_COME_BACK = (VersionState.RETIRED, VersionState.REJECTED)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the versions of a model stand to each other.

    Attributes:
        serving: The version that serves.
        elected: The newest good version that is newer; the others of them have had their time.
        contender: The version that is to serve next; None while a pinned one serves.
        fallback: The version that the serving one may be rolled back to, for a while.
        fallback_until: Until when, unix seconds.
        is_pinned: Whether `spec.version` says which one is to serve.
        problem: Why it cannot be the one that `spec.version` names.
    """

    serving: Version | None = None
    elected: Version | None = None
    contender: Version | None = None
    fallback: Version | None = None
    fallback_until: float | None = None
    is_pinned: bool = False
    problem: Problem | None = None


def read_standing(
    overview: ModelOverview,
    spec: AnomalyModelSpec,
    request: TrainingRequest | None,
    *,
    now: float,
) -> Standing:
    """Where the versions of a model stand.

    Args:
        overview: What the database says of them.
        spec: Of the model.
        request: What is wanted; None when that is not known.
        now: Unix seconds.
    """
    versions = overview.versions
    serving = overview.serving
    elected = elect(versions, serving, request)
    if spec.version is not None:
        pinned = overview.version_of(spec.version)
        problem = _pin_problem(pinned, spec.version, versions)
        is_free = problem is None and pinned is not serving
        may_serve = pinned is not None and pinned.state in _MAY_BE_PINNED
        contender = pinned if is_free and may_serve else None
        return Standing(serving, elected, contender, is_pinned=True, problem=problem)
    fallback, until = find_fallback(overview, spec, now=now)
    return Standing(serving, elected, elected, fallback, until)


def elect(
    versions: Sequence[Version], serving: Version | None, request: TrainingRequest | None
) -> Version | None:
    """The version that is next in line; None when the serving one is the best there is.

    Args:
        versions: Newest first.
        serving: The version that serves.
        request: What is wanted; None when that is not known.
    """
    good = [
        one
        for one in versions
        if one.trained_at is not None
        and one.state in _GOOD
        and one.reason != IMPORTED
        and (serving is None or one.version > serving.version)
    ]
    if request is not None:
        fitting = next((one for one in good if answers(one, request)), None)
        # Nothing serves: a version for an earlier spec is better than none.
        if fitting is not None or serving is not None:
            return fitting
    return next((one for one in good if one.state is VersionState.CANDIDATE), None)


def find_fallback(
    overview: ModelOverview, spec: AnomalyModelSpec, *, now: float
) -> tuple[Version | None, float | None]:
    """The version that the serving one may be rolled back to, and until when."""
    serving = overview.serving
    if serving is None or serving.replaced is None or serving.served_at is None:
        return None, None
    until = serving.served_at + spec.rollout.rollback_window.seconds
    before = overview.version_of(serving.replaced)
    if now >= until or before is None or before.state not in _MAY_COME_BACK:
        return None, None
    return before, until


def _pin_problem(
    pinned: Version | None, number: int, versions: Sequence[Version]
) -> Problem | None:
    if pinned is not None and pinned.state is VersionState.TRAINING:
        return None
    if pinned is not None and pinned.trained_at is not None and pinned.state in _SERVABLE:
        return None
    what = "does not exist" if pinned is None else f"is {pinned.state} and cannot serve"
    could = [
        str(one.version)
        for one in versions
        if one.trained_at is not None and one.state in _SERVABLE
    ]
    known = f"there are {', '.join(could)}" if could else "there is none that could serve yet"
    message = f"spec.version: version {number} {what}; {known}"
    return Problem(Reason.VERSION_NOT_FOUND, message)
