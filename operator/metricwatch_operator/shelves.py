"""Objects as they were last heard of, by the key of the model that they concern."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet

from metricwatch_operator.objects import Manifest

Key = tuple[str, str]
"""Namespace and name of a model: what is reconciled."""


class Shelf:
    """Objects of one kind. Each change says which keys it concerns.

    Args:
        key_of: The key that an object belongs to; None when it is nobody's.
        keep: The object as it is kept.
    """

    def __init__(
        self,
        key_of: Callable[[Manifest], Key | None],
        keep: Callable[[Manifest], Manifest] = lambda manifest: manifest,
    ) -> None:
        self._key_of = key_of
        self._keep = keep
        self._keys: dict[str, Key] = {}
        # Tuples, because nearly all models have one detector and one pod: a dictionary for each
        # of them would be larger than what it holds.
        self._objects: dict[Key, tuple[Manifest, ...]] = {}

    def put(self, manifest: Manifest) -> frozenset[Key]:
        """Takes an object that is new, or another one than before.

        One that is as it was concerns nobody: after a gap everything is listed again.
        """
        uid, key = manifest["metadata"]["uid"], self._key_of(manifest)
        before = self._keys.get(uid)
        known = next((one for one in self.of(before) if _uid(one) == uid), None)
        if known is not None and key == before and _revision(known) == _revision(manifest):
            return frozenset()
        self.drop(uid)
        if key is not None:
            # The key that is there already, not another one that is equal to it.
            self._keys[uid] = key = before if before == key else key
            self._objects[key] = (*self._objects.get(key, ()), self._keep(manifest))
        return frozenset(one for one in (before, key) if one is not None)

    def drop(self, uid: str) -> frozenset[Key]:
        """Forgets an object."""
        key = self._keys.pop(uid, None)
        if key is None:
            return frozenset()
        left = tuple(one for one in self._objects[key] if _uid(one) != uid)
        if left:
            self._objects[key] = left
        else:
            del self._objects[key]
        return frozenset({key})

    def retain(self, uids: AbstractSet[str], *, namespace: str) -> frozenset[Key]:
        """Forgets all objects of a namespace but these; of all namespaces when it is empty."""
        gone = [
            uid for uid, key in self._keys.items() if uid not in uids and namespace in ("", key[0])
        ]
        return frozenset(key for uid in gone for key in self.drop(uid))

    def of(self, key: Key | None) -> tuple[Manifest, ...]:
        """The objects of a key, in no order."""
        return self._objects.get(key, ()) if key is not None else ()

    def key_of(self, uid: str) -> Key | None:
        """The key of an object; None when it is not here."""
        return self._keys.get(uid)

    def held(self) -> Iterator[Key]:
        """Every key that has an object."""
        yield from self._objects

    def __iter__(self) -> Iterator[Manifest]:
        for objects in self._objects.values():
            yield from objects


def _uid(manifest: Manifest) -> str:
    return str(manifest["metadata"]["uid"])


def _revision(manifest: Manifest) -> str:
    return str(manifest["metadata"].get("resourceVersion", ""))
