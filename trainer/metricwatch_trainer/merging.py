"""One result of those of several pods: counts add up, series are put together.

Pods run side by side, so a run took as long as its slowest pod, and needed as much memory as its
largest.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from metricwatch.gate import GateMeasurement
from metricwatch.resources.conditions import Reason
from metricwatch.store.rows import TrainingResult
from metricwatch_trainer.refusal import nothing_learned
from metricwatch_trainer.report import skill_of
from metricwatch_trainer.taking_over import FROM

Report = Mapping[str, Any]


def merge_results(results: Sequence[TrainingResult]) -> TrainingResult:
    """Returns the result of a run.

    Args:
        results: one for each pod, in the order of their shards. A pod that had no series, or none
            to learn from, counts like any other.

    Raises:
        Refusal: no pod learned anything.
    """
    report = merge_reports([one.report for one in results])
    if not report["trained"]:
        raise nothing_learned(report)
    return TrainingResult(
        window_start=min(one.window_start for one in results),
        window_end=max(one.window_end for one in results),
        data_hash=_merged_hash(results),
        seed=results[0].seed,
        code_version=results[0].code_version,
        report=report,
    )


def merge_reports(reports: Sequence[Report]) -> dict[str, Any]:
    """Returns the report of a run that several pods shared."""
    families: Counter[str] = Counter()
    for one in reports:
        families.update(one["families"])
    series = [row for one in reports for row in one["series"]]
    requested = reports[0]["requested"]
    merged = {
        "requested": requested,
        "family": next(iter(families)) if len(families) == 1 else requested,
        "families": dict(families.most_common()),
        "trained": sum(one["trained"] for one in reports),
        "leftOut": sum(one["leftOut"] for one in reports),
        "shards": len(reports),
        "watches": _merged_watches(reports, series),
        "seconds": _largest(one["seconds"] for one in reports),
        "peakBytes": max(one.get("peakBytes", 0) for one in reports),
        "series": series,
    }
    gate = _merged_gate([one["gate"] for one in reports if one.get("gate") is not None])
    return merged if gate is None else merged | {"gate": gate}


def _merged_watches(reports: Sequence[Report], series: list[Report]) -> list[dict[str, Any]]:
    """Returns a summary for each watch; every pod has one of each, in the same order."""
    merged = []
    for parts in zip(*(one["watches"] for one in reports), strict=True):
        uid = parts[0]["uid"]
        watch = dict(parts[0]) | {
            "start": min(part["start"] for part in parts),
            "end": max(part["end"] for part in parts),
            "found": sum(part["found"] for part in parts),
            # Counted before the series are divided, so each pod says the same.
            "beyondLimit": max(part["beyondLimit"] for part in parts),
            "trained": sum(part["trained"] for part in parts),
            "leftOut": sum(part["leftOut"] for part in parts),
            "notes": list(dict.fromkeys(note for part in parts for note in part["notes"])),
        }
        for name in ("errorToPersistence", "tuning", "problem", FROM):
            watch.pop(name, None)
        skill = skill_of(row for row in series if row["watch"] == uid)
        told = {
            "errorToPersistence": skill,
            "tuning": _first(parts, "tuning"),
            "problem": _problem(parts),
            FROM: _taken_from(parts),
        }
        merged.append(watch | {name: value for name, value in told.items() if value is not None})
    return merged


def _merged_gate(gates: Sequence[Report]) -> dict[str, Any] | None:
    """Returns what was measured of all slices; one that could not be measured spoils the whole."""
    if not gates:
        return None
    measured = [GateMeasurement.model_validate(one) for one in gates]
    watches = tuple(watch for one in measured for watch in one.watches)
    return GateMeasurement(
        serving=next((one.serving for one in measured if one.serving is not None), None),
        watches=watches,
        inconclusive="" if watches else _first_word(one.inconclusive for one in measured),
        error=_first_word(one.error for one in measured),
    ).to_row()


def _merged_hash(results: Sequence[TrainingResult]) -> str:
    digests = "".join(one.data_hash for one in results)
    return hashlib.blake2b(digests.encode(), digest_size=16).hexdigest()


def _largest(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    largest: dict[str, float] = {}
    for part in parts:
        for name, value in part.items():
            largest[name] = max(value, largest.get(name, 0.0))
    return largest


def _taken_from(parts: Sequence[Report]) -> Any:
    """Returns who learned a watch; None when a pod had to learn its slice anew."""
    versions = {part.get(FROM) for part in parts}
    return versions.pop() if len(versions) == 1 else None


def _problem(parts: Sequence[Report]) -> Any:
    """Returns what is wrong with a watch; labels that only some slices lack are no problem."""
    learned = any(part["trained"] for part in parts)
    problems = [part["problem"] for part in parts if part.get("problem") is not None]
    return next(
        (one for one in problems if not (learned and one["reason"] == Reason.NO_LABELS)), None
    )


def _first(parts: Sequence[Report], name: str) -> Any:
    return next((part[name] for part in parts if part.get(name) is not None), None)


def _first_word(words: Iterable[str]) -> str:
    return next((word for word in words if word), "")
