"""Which versions are what a spec asks for.

A version answers a request when it was trained for the same, or for the same and for watches that
have gone since: without them it is still right, so removing a watch trains nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from metricwatch.assignments import TrainingRequest
from metricwatch.resources import VersionState
from metricwatch.store.rows import Version

SUPERSEDED = "Superseded"
"""Reason of a version that another one took the place of."""
IMPORTED = "Imported"
"""Reason of a version that came from somewhere else and never served."""
_GOOD = (VersionState.CANDIDATE, VersionState.SERVING, VersionState.RETIRED)


def answers(version: Version, request: TrainingRequest) -> bool:
    """Whether a version was trained, or is being trained, for what a request asks for."""
    wanted = request.fingerprint()
    if version.request_hash == wanted:
        return True
    asked = read_request(version)
    if asked is None:
        return False
    uids = {watch.uid for watch in request.watches}
    kept = tuple(watch for watch in asked.watches if watch.uid in uids)
    # Fewer than before, and not fewer than wanted: otherwise the two cannot be the same.
    if len(kept) == len(asked.watches) or len(kept) < len(uids):
        return False
    return asked.model_copy(update={"watches": kept}).fingerprint() == wanted


def newest_of(versions: Sequence[Version]) -> Version | None:
    """The newest version that was made here; one that was imported is nobody's next try."""
    return next((one for one in versions if one.reason != IMPORTED), None)


def read_request(version: Version) -> TrainingRequest | None:
    """What a version was asked for; None when this release cannot read it."""
    try:
        return TrainingRequest.from_row(version.request)
    except ValidationError:
        return None


def differ_in_watches_alone(version: Version, request: TrainingRequest) -> bool:
    """Whether a request only adds watches to, and removes watches from, that of a version."""
    asked = read_request(version)
    if asked is None:
        return False
    common = {one.uid for one in asked.watches} & {one.uid for one in request.watches}
    if not common:
        return False
    before, after = (
        one.model_copy(update={"watches": tuple(w for w in one.watches if w.uid in common)})
        for one in (asked, request)
    )
    return before.fingerprint() == after.fingerprint()


def find_answer(
    versions: Sequence[Version], request: TrainingRequest, *, serving: int | None
) -> Version | None:
    """The newest version that answers a request and counts; None when one has to be trained.

    The newest version counts whatever became of it, but not when it was given up for another
    request; of older ones those that serve, or that are good and newer than the one that serves.
    A version that was imported serves only when it is pinned, and counts only then.

    Args:
        versions: newest first.
        request: what is wanted.
        serving: the version that serves.
    """
    newest = newest_of(versions)
    return next(
        (
            one
            for one in versions
            if _counts(one, newest=newest, serving=serving) and answers(one, request)
        ),
        None,
    )


def _counts(version: Version, *, newest: Version | None, serving: int | None) -> bool:
    if version.version == serving:
        return True
    if version.reason == IMPORTED:
        return False
    if version.state is VersionState.FAILED and version.reason == SUPERSEDED:
        return False
    if version is newest:
        return True
    return version.state in _GOOD and version.version > (serving or 0)
