"""Why a new version: the difference between two training requests, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_MOST_NAMED = 5
_SHORT_VALUE = 40
_FAMILY = "algorithm.type"
# The parts of a watch, and what people call them.
_WATCH_PARTS = {
    "queries": "query",
    "source": "source",
    "intervalSeconds": "interval",
    "delaySeconds": "delay",
    "maxSeries": "maxSeries",
    "groupBy": "groupBy",
}
_SOURCE_PARTS = ("type", "url", "tenant", "headers")


def describe_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """One line that says how the request changed, the first few changes by name.

    >>> describe_changes({"training": {"window": "7d"}}, {"training": {"window": "14d"}})
    'training.window 7d → 14d'
    """
    changes = [*_field_changes(before, after), *_watch_changes(before, after)]
    if not changes:
        return "nothing that training depends on"
    shown = changes[:_MOST_NAMED]
    if len(changes) > len(shown):
        shown.append(f"and {len(changes) - len(shown)} more")
    return ", ".join(shown)


def _field_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterable[str]:
    old, new = dict(_flatten(_fields(before))), dict(_flatten(_fields(after)))
    paths = old.keys() | new.keys()
    if old.get(_FAMILY) != new.get(_FAMILY):
        # All parameters come with the family or go with it: that they do is no news.
        paths = {path for path in paths if path == _FAMILY or not path.startswith("algorithm.")}
    for path in sorted(paths):
        one, other = old.get(path), new.get(path)
        if one != other and not (_is_unset(one) and _is_unset(other)):
            yield f"{path} {_show(one)} → {_show(other)}"


def _fields(request: Mapping[str, Any]) -> dict[str, Any]:
    """What a request says of the whole model; a search that is turned off is none."""
    is_tuned = request.get("tuning", {}).get("enabled", False)
    left_out = {"watches"} if is_tuned else {"watches", "tuning"}
    return {name: value for name, value in request.items() if name not in left_out}


def _watch_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterable[str]:
    old = {watch["uid"]: watch for watch in before.get("watches", ())}
    new = {watch["uid"]: watch for watch in after.get("watches", ())}
    for uid in sorted(new.keys() - old.keys(), key=lambda uid: str(new[uid]["name"])):
        yield f"watch {new[uid]['name']} added"
    for uid in sorted(old.keys() - new.keys(), key=lambda uid: str(old[uid]["name"])):
        yield f"watch {old[uid]['name']} removed"
    for uid in sorted(old.keys() & new.keys(), key=lambda uid: str(new[uid]["name"])):
        for part, word in _WATCH_PARTS.items():
            one, other = _comparable(old[uid], part), _comparable(new[uid], part)
            if one == other:
                continue
            if isinstance(other, int):
                yield f"{word} of watch {new[uid]['name']} {one} → {other}"
            else:
                yield f"{word} of watch {new[uid]['name']} changed"


def _comparable(watch: Mapping[str, Any], part: str) -> Any:
    value = watch.get(part)
    if part == "source" and isinstance(value, Mapping):
        return {name: value.get(name) for name in _SOURCE_PARTS}
    # A row of an earlier release says nothing where a newer one has an empty list.
    return value or () if part == "groupBy" else value


def _flatten(value: Any, path: str = "") -> Iterable[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name, part in value.items():
            yield from _flatten(part, f"{path}.{name}" if path else str(name))
    else:
        yield path, value


def _is_unset(value: Any) -> bool:
    return value is None or value in ("", [], {})


def _show(value: Any) -> str:
    if _is_unset(value):
        return "unset"
    text = str(value)
    return text if len(text) <= _SHORT_VALUE else f"{text[: _SHORT_VALUE - 1]}…"
