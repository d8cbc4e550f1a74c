"""What a version is, as JSON values: the metadata that is shown, compared and exported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from metricwatch.algorithms.window_features import FEATURES
from metricwatch.gate import GateMeasurement
from metricwatch.store.rows import Version
from metricwatch_cli.versions.tables import time_of

_OF_WINDOWS = frozenset({"isolationForest", "kmeans", "randomForest", "xgboost", "helm"})


def describe(version: Version) -> dict[str, Any]:
    """A version as JSON values, without what grows with the number of its series."""
    report = version.report or {}
    request = version.request
    return {
        "version": version.version,
        "state": str(version.state),
        "reason": version.reason,
        "message": version.message,
        "createdAt": time_of(version.created_at),
        "trainedAt": time_of(version.trained_at),
        "readyAt": time_of(version.ready_at),
        "servedAt": time_of(version.served_at),
        "retiredAt": time_of(version.retired_at),
        "attempt": version.attempt,
        "codeVersion": version.code_version,
        "data": {
            "start": time_of(version.window_start),
            "end": time_of(version.window_end),
            "hash": version.data_hash,
        },
        "seed": version.seed,
        "requestHash": version.request_hash,
        "families": dict(report.get("families") or {}),
        "series": {"trained": report.get("trained"), "leftOut": report.get("leftOut")},
        "metrics": [_metric(one, report) for one in request.get("watches", ())],
        "features": _features(report),
        "parameters": {
            name: request[name] for name in ("scope", "algorithm", "training") if name in request
        },
        "tuned": _tuned(report),
        "gate": report.get("gate"),
        "seconds": dict(report.get("seconds") or {}),
    }


def gate_of(version: Version) -> GateMeasurement | None:
    """What the gate measured; None when it measured nothing, or nothing that can be read."""
    try:
        return GateMeasurement.from_report(version.report)
    except ValidationError:
        return None


def _metric(watch: Mapping[str, Any], report: Mapping[str, Any]) -> dict[str, Any]:
    found: Mapping[str, Any] = next(
        (one for one in _watches(report) if one.get("uid") == watch.get("uid")), {}
    )
    return {
        "watch": f"{watch.get('namespace', '')}/{watch.get('name', '')}",
        "uid": watch.get("uid"),
        "queries": [one.get("expr") for one in watch.get("queries", ())],
        "intervalSeconds": watch.get("intervalSeconds"),
        "trained": found.get("trained"),
        "leftOut": found.get("leftOut"),
        "errorToPersistence": found.get("errorToPersistence"),
        # Only a watch that was taken over says which version learned it.
        "learnedBy": found.get("from"),
    }


def _watches(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What the report says of its watches, without rows that are none."""
    rows = report.get("watches")
    return [one for one in rows if isinstance(one, Mapping)] if isinstance(rows, list) else []


def _features(report: Mapping[str, Any]) -> dict[str, list[str]]:
    """What families see of a series besides its samples one after the other."""
    families = sorted(_OF_WINDOWS & set(report.get("families") or {}))
    return {family: list(FEATURES) for family in families}


def _tuned(report: Mapping[str, Any]) -> dict[str, Any]:
    return {
        str(one.get("name") or one.get("uid")): one["tuning"]
        for one in _watches(report)
        if one.get("tuning")
    }
