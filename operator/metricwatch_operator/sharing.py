"""Objects that share their equal parts, so that thousands of them fit into memory.

Children of one kind differ in a name and a few numbers; probes, security contexts, conditions and
all the keys are equal. Parsed from JSON each object holds all of them for itself, some 60 KB for a
model with its watch, detector and pod; with equal parts held once it is a quarter of that. Shared
parts must never be changed, and nobody changes a manifest here.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

_MOST_SEEN_ONCE = 4096
_MOST_SHARED = 16_384
_LONGEST_INTERNED = 256


class Sharing:
    """Parts that were seen before, a bounded number of them.

    A part that is met a second time is kept; what was seen only once, such as the metadata of an
    object, is forgotten in bulk. Forgetting costs memory later, and nothing else.
    """

    def __init__(self) -> None:
        self._once: dict[Any, Any] = {}
        self._shared: dict[Any, Any] = {}

    def share(self, value: Any) -> Any:
        """The same value, with parts in common with other values that were handed in.

        >>> sharing = Sharing()
        >>> one, other = ({"a": {"b": ["c"]}, "n": number} for number in (1, 2))
        >>> first, second = sharing.share(one), sharing.share(other)
        >>> (first == one, first["a"] is second["a"])
        (True, True)
        """
        if isinstance(value, str):
            return sys.intern(value) if len(value) <= _LONGEST_INTERNED else value
        if isinstance(value, Mapping):
            fields = {sys.intern(str(name)): self.share(part) for name, part in value.items()}
            return self._known(
                ("{", *((name, _mark(part)) for name, part in fields.items())), fields
            )
        if isinstance(value, list | tuple):
            items = [self.share(part) for part in value]
            return self._known(("[", *map(_mark, items)), items)
        return value

    def _known(self, key: Any, made: Any) -> Any:
        found = self._shared.get(key)
        if found is not None:
            return found
        found = self._once.pop(key, None)
        if found is None:
            if len(self._once) >= _MOST_SEEN_ONCE:
                self._once.clear()
            self._once[key] = made
            return made
        if len(self._shared) >= _MOST_SHARED:
            self._shared.clear()
        self._shared[key] = found
        return found


def _mark(part: Any) -> Any:
    """What tells a part from others: itself, or, of what was shared before, where it is.

    The value that goes with a key holds its parts, so none of these places is used anew as long as
    the key is there.
    """
    if isinstance(part, dict | list):
        return (id(part),)
    # True, 1 and 1.0 are equal and not the same.
    return (type(part), part)
