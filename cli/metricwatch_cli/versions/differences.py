"""`metricwatch versions diff`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import Any

from metricwatch.store.rows import Version
from metricwatch_cli.terminal import as_json
from metricwatch_cli.versions.asking import find_model, full_version, opened
from metricwatch_cli.versions.describing import describe, gate_of
from metricwatch_cli.versions.gate_table import error_ratio
from metricwatch_cli.versions.tables import lined_up

_OF_EVERY_VERSION = ("version", "createdAt", "trainedAt", "readyAt", "servedAt", "retiredAt")
_MOST_SERIES = 20
_LONGEST = 60


async def run(options: argparse.Namespace) -> str:
    """What differs between two versions of a model."""
    async with opened(options) as database:
        overview = await find_model(database, options)
        before = await full_version(database, overview, options.before)
        after = await full_version(database, overview, options.after)
    if options.output == "json":
        return as_json(
            {"before": before.version, "after": after.version, **compare(before, after)}
        )
    return differences_table(before, after)


def compare(before: Version, after: Version) -> dict[str, Any]:
    """Fields that differ, and series that only one of the two knows."""
    old, new = _flat(_comparable(before)), _flat(_comparable(after))
    fields = {
        path: {"before": old.get(path), "after": new.get(path)}
        for path in sorted({*old, *new})
        if old.get(path) != new.get(path)
    }
    known, knows = _series(before), _series(after)
    return {
        "fields": fields,
        "series": {"added": sorted(knows - known), "removed": sorted(known - knows)},
    }


def differences_table(before: Version, after: Version) -> str:
    """The same as text."""
    found = compare(before, after)
    head = ("FIELD", f"VERSION {before.version}", f"VERSION {after.version}")
    rows = [
        (path, _shown(one["before"]), _shown(one["after"]))
        for path, one in found["fields"].items()
    ]
    lines = [lined_up([head, *rows])] if rows else ["no field differs"]
    for sign, name in (("+", "added"), ("-", "removed")):
        series = found["series"][name]
        if series:
            lines.append(f"{len(series)} series {name}:")
            lines += [f"  {sign} {one}" for one in series[:_MOST_SERIES]]
            if len(series) > _MOST_SERIES:
                lines.append(f"  {sign} … and {len(series) - _MOST_SERIES} more")
    return "\n".join(lines)


def _comparable(version: Version) -> dict[str, Any]:
    """What says something about the version itself; of the gate the few numbers that matter."""
    known = {name: one for name, one in describe(version).items() if name not in _OF_EVERY_VERSION}
    gate = gate_of(version)
    total = gate.total() if gate else None
    known["gate"] = (
        None
        if total is None
        else {
            "recall": _rounded(total.candidate.recall),
            "anomalyRate": _rounded(total.candidate.anomaly_rate),
            "episodes": total.candidate.episodes,
            "promised": _rounded(total.candidate.promised),
            "errorToServing": _rounded(error_ratio(total)),
        }
    )
    known["metrics"] = {one["watch"]: one for one in known["metrics"]}
    return known


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping):
        parts: dict[str, Any] = {}
        for name, one in value.items():
            parts |= _flat(one, f"{path}.{name}" if path else str(name))
        return parts
    return {path: value}


def _series(version: Version) -> set[str]:
    return set(_labels(version))


def _labels(version: Version) -> Iterator[str]:
    names = {one.get("uid"): one.get("name") for one in version.request.get("watches", ())}
    for row in (version.report or {}).get("series", ()):
        if "leftOut" not in row:
            labels = dict(row.get("labels") or {})
            metric = labels.pop("__name__", "")
            inner = ", ".join(f'{key}="{labels[key]}"' for key in sorted(labels))
            yield f"{names.get(row.get('watch'), '?')}: {metric}{{{inner}}}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
