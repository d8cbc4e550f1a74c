"""`metricwatch versions list`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from metricwatch.store.catalogue import ModelEntry
from metricwatch.store.rows import ModelOverview, Version
from metricwatch_cli.terminal import as_json
from metricwatch_cli.versions.asking import all_models, find_model, opened
from metricwatch_cli.versions.describing import describe, gate_of
from metricwatch_cli.versions.tables import lined_up, percent, time_of


async def run(options: argparse.Namespace) -> str:
    """All models, or the versions of one."""
    async with opened(options) as database:
        if options.model is None:
            models = await all_models(database, namespace=options.namespace)
            return models_as(options.output, models)
        overview = await find_model(database, options)
    if options.output == "json":
        return as_json(
            {
                "model": {"namespace": overview.namespace, "name": overview.name},
                "servingVersion": overview.serving_version,
                "versions": [describe(one) for one in overview.versions],
            }
        )
    return versions_table(overview)


def models_as(output: str, models: Sequence[ModelEntry]) -> str:
    """Models as a table or as JSON."""
    if output == "json":
        return as_json([_model(one) for one in models])
    if not models:
        return "there are no models"
    rows = [("NAMESPACE", "MODEL", "VERSIONS", "SERVING", "SUSPENDED")]
    rows += [
        (
            one.namespace,
            one.name,
            str(one.versions),
            "-" if one.serving_version is None else str(one.serving_version),
            "yes" if one.suspended else "",
        )
        for one in models
    ]
    return lined_up(rows)


def versions_table(overview: ModelOverview) -> str:
    """The versions of a model, newest first; the one that serves is starred."""
    if not overview.versions:
        return f"model {overview.namespace}/{overview.name} has no versions yet"
    head = ("", "VERSION", "STATE", "REASON", "TRAINED", "SERIES", "FAMILIES", "RECALL", "ALARMS")
    return lined_up([head, *(_row(one, overview.serving_version) for one in overview.versions)])


def _row(version: Version, serving: int | None) -> tuple[str, ...]:
    report = version.report or {}
    gate = gate_of(version)
    candidate = gate.total().candidate if gate else None
    families = report.get("families") or {}
    return (
        "*" if version.version == serving else "",
        str(version.version),
        str(version.state),
        version.reason,
        time_of(version.trained_at) or "-",
        str(report.get("trained", "-")),
        ", ".join(f"{name} {count}" for name, count in list(families.items())[:3]),
        percent(candidate.recall if candidate else None),
        percent(candidate.anomaly_rate if candidate else None),
    )


def _model(entry: ModelEntry) -> dict[str, Any]:
    return {
        "namespace": entry.namespace,
        "name": entry.name,
        "uid": entry.uid,
        "versions": entry.versions,
        "servingVersion": entry.serving_version,
        "suspended": entry.suspended,
    }
