"""What this process wrote, for as long as the informer cache has not caught up with it.

A status that is computed from a cached object right after our own write would start from the old
one, and move `lastTransitionTime` again. Answers to our writes stand in until the cache is as new.
Losing all of this, as at a restart, costs a few requests that change nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from metricwatch_operator.objects import Manifest
from metricwatch_operator.observed import Memory, Problem

_APPLY_SECRET_EVERY_SECONDS = 600.0


class Remembered:
    """Answers, digests and refusals, by uid.

    Args:
        now: A monotonic clock in seconds.
        share: The same value with parts in common with others; answers wait here for the cache,
            thousands of them while thousands of models are adopted.
    """

    def __init__(
        self, *, now: Callable[[], float], share: Callable[[Any], Any] = lambda value: value
    ) -> None:
        self._now = now
        self._share = share
        self._written: dict[str, Manifest] = {}
        self._assignments: dict[str, str] = {}
        self._secrets: dict[str, tuple[str, float, frozenset[str]]] = {}
        self._refusals: dict[str, Problem] = {}

    def wrote(self, answer: Manifest) -> None:
        """Keeps the object that the API server answered with."""
        uid = answer["metadata"].get("uid")
        if uid:
            metadata = {k: v for k, v in answer["metadata"].items() if k != "managedFields"}
            self._written[uid] = self._share({**answer, "metadata": metadata})

    def newest(self, cached: Manifest) -> Manifest:
        """The cached object, or what we know to be newer."""
        uid = cached["metadata"]["uid"]
        written = self._written.get(uid)
        if written is None:
            return cached
        if _revision(cached) >= _revision(written):
            del self._written[uid]
            return cached
        return written

    def assigned(self, uid: str, digest: str) -> None:
        """Keeps what was written as the rows of a model and its watches."""
        self._assignments[uid] = digest

    def shared_database(
        self, uid: str, digest: str, *, pods: frozenset[str] = frozenset()
    ) -> None:
        """Keeps that the Secret beside a model holds the URL with this digest.

        Args:
            uid: of the model.
            digest: of the content.
            pods: those that waited to start.
        """
        self._secrets[uid] = (digest, self._now(), pods)

    def refused(self, uid: str, problem: Problem | None) -> None:
        """Keeps why the API server refuses a child of a model, or forgets it."""
        if problem is None:
            self._refusals.pop(uid, None)
        else:
            self._refusals[uid] = problem

    def recall(self, uid: str, *, url_digest: str) -> Memory:
        """What a plan about this model should know."""
        digest, applied_at, pods = self._secrets.get(uid, ("", float("-inf"), frozenset()))
        # Somebody may have changed it, and we may not look: apply it again now and then.
        is_recent = self._now() - applied_at < _APPLY_SECRET_EVERY_SECONDS
        return Memory(
            assignments=self._assignments.get(uid, ""),
            database_secret=digest == url_digest and is_recent,
            provided=pods,
            refusal=self._refusals.get(uid),
        )

    def forget(self, uid: str) -> None:
        """Drops everything about an object that is gone."""
        kept: tuple[dict[str, Any], ...] = (
            self._written,
            self._assignments,
            self._secrets,
            self._refusals,
        )
        for memory in kept:
            memory.pop(uid, None)


def _revision(manifest: Manifest) -> int:
    # Opaque by the letter of the API, an etcd revision in fact; since Kubernetes 1.35 comparable
    # by contract.
    version = str(manifest["metadata"].get("resourceVersion", ""))
    return int(version) if version.isdecimal() else 0
