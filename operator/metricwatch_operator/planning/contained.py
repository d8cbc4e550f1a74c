"""Whether a live object already is what a manifest asks for.

The API server fills in defaults, so a live object says more than the manifest: it must hold
everything that the manifest holds. What an *earlier* manifest asked for and this one does not is
told by a hash of the manifest in an annotation. Together they make a reconcile without news send
nothing at all.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from metricwatch_operator.objects import Manifest

APPLIED_ANNOTATION = "metricwatch.io/applied"
_QUANTITY_PARENTS = frozenset({"requests", "limits"})
_QUANTITY = re.compile(
    r"^\+?([0-9]*\.?[0-9]*)(?:[eE]([+-]?[0-9]+)|(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]))?$"
)
_BINARY = ("Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_SUFFIXES = {
    **{suffix: Decimal(1024) ** power for power, suffix in enumerate(_BINARY, 1)},
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", 1)},
    **{suffix: Decimal(1000) ** -power for power, suffix in enumerate("mun", 1)},
}


def stamp(manifest: Manifest) -> dict[str, Any]:
    """The manifest with the hash of itself among its annotations."""
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    metadata = manifest["metadata"]
    annotations = {**metadata.get("annotations", {}), APPLIED_ANNOTATION: digest}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def is_contained(asked: Any, live: Any, *, parent: str = "") -> bool:
    """Whether `live` holds everything in `asked`; lists must agree item by item.

    >>> is_contained({"limits": {"cpu": "1000m"}}, {"limits": {"cpu": "1"}, "requests": {}})
    True
    >>> is_contained({"args": ["a"]}, {"args": ["a", "b"]})
    False
    """
    if asked == live:
        # Nearly always, and found out by Python itself.
        return True
    if isinstance(asked, Mapping):
        return isinstance(live, Mapping) and all(
            name in live and is_contained(value, live[name], parent=_scope(parent, name))
            for name, value in asked.items()
        )
    if isinstance(asked, str | bytes) or not isinstance(asked, Sequence):
        if parent == "quantity":
            return _same_quantity(asked, live)
        return False
    return (
        isinstance(live, Sequence)
        and len(live) == len(asked)
        and all(is_contained(one, other) for one, other in zip(asked, live, strict=True))
    )


def _scope(parent: str, name: str) -> str:
    if parent in _QUANTITY_PARENTS or name == "sizeLimit":
        return "quantity"
    return name


def _same_quantity(asked: Any, live: Any) -> bool:
    one, other = _amount(str(asked)), _amount(str(live))
    return str(asked) == str(live) if one is None or other is None else one == other


def _amount(text: str) -> Decimal | None:
    match = _QUANTITY.match(text)
    if match is None or match[1] in ("", "."):
        return None
    number = Decimal(match[1])
    if match[2]:
        return number * Decimal(10) ** int(match[2])
    return number * _SUFFIXES.get(match[3] or "", Decimal(1))
