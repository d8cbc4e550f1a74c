"""Versions and archives for tests of `metricwatch versions`."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from metricwatch.algorithms import FAMILIES
from metricwatch.algorithms.robust import value_step
from metricwatch.artifact import ModelChunk, pack, sha256
from metricwatch.resources import VersionState
from metricwatch.scoring import Scoring
from metricwatch.series import Grid
from metricwatch.store.rows import ModelOverview, Version

START = 1_700_000_000
GRID = Grid(START - START % 600, 600, 300)
REQUEST: dict[str, Any] = {
    "algorithm": {"type": "zscore"},
    "watches": [
        {
            "uid": "watch-1",
            "namespace": "shop",
            "name": "latency",
            "queries": [{"expr": "up"}],
            "source": {"url": "http://prometheus:9090"},
            "intervalSeconds": 600,
        }
    ],
}


def make_content(*, watch_uid: str = "watch-1", series: int = 2, seed: int = 0) -> bytes:
    """A chunk of z-scores that can be read."""
    values = np.random.default_rng(seed).standard_normal((series, GRID.count))
    bank = FAMILIES["zscore"].fit(values, GRID, None)
    evidence = FAMILIES["zscore"].restore(bank.header(), bank.tensors()).backtest(GRID, values)
    scoring = Scoring.fit(bank.streams, evidence.evidence, GRID, value_step=value_step(values))
    labels = tuple((("__name__", "up"), ("pod", f"pod-{number}")) for number in range(series))
    return pack(ModelChunk(watch_uid, 600, labels, bank, scoring))


def make_gate(*, serving: int | None = 1) -> dict[str, Any]:
    """A measurement of one watch, better than what serves."""
    side = {
        "series": 2,
        "samples": 1000,
        "anomalous": 5,
        "episodes": 2,
        "promised": 1.5,
        "injected": {"spike": {"found": 9, "of": 10}, "drift": {"found": 5, "of": 10}},
        "recorded": {"found": 3, "of": 4},
    }
    worse = side | {"anomalous": 50, "injected": {"spike": {"found": 6, "of": 10}}}
    watch: dict[str, Any] = {"uid": "watch-1", "name": "latency", "candidate": side}
    if serving is not None:
        watch |= {"common": side, "serving": worse, "logErrorRatio": -0.4, "errorSeries": 2}
    return {"serving": serving, "watches": [watch]}


def make_report(*pods: str, **changes: Any) -> dict[str, Any]:
    report: dict[str, Any] = {
        "families": {"zscore": len(pods)},
        "trained": len(pods),
        "leftOut": 0,
        "watches": [{"uid": "watch-1", "name": "latency", "trained": len(pods), "leftOut": 0}],
        "series": [
            {"watch": "watch-1", "labels": {"__name__": "up", "pod": pod}, "family": "zscore"}
            for pod in pods
        ],
    }
    return report | changes


def make_version(number: int = 1, **changes: Any) -> Version:
    values: dict[str, Any] = {
        "id": number,
        "version": number,
        "state": VersionState.RETIRED,
        "reason": "",
        "message": "",
        "request": REQUEST,
        "request_hash": "hash",
        "attempt": 1,
        "code_version": "0.1.0",
        "window_start": START - 86_400,
        "window_end": START,
        "data_hash": "abc",
        "seed": 7,
        "report": make_report("pod-0", "pod-1"),
        "created_at": START,
        "trained_at": START + 60,
        "served_at": None,
        "retired_at": None,
    }
    return Version(**(values | changes))


def make_overview(*versions: Version, serving: int | None = None) -> ModelOverview:
    return ModelOverview(
        id=1,
        uid="model-1",
        namespace="shop",
        name="checkout",
        generation=1,
        serving_version=serving,
        versions=versions,
        watches=(),
    )


def make_manifest(contents: dict[str, bytes], **changes: Any) -> dict[str, Any]:
    manifest: dict[str, Any] = {
        "format": 1,
        "metricwatch": "0.1.0",
        "exportedAt": "2026-01-01T00:00:00Z",
        "model": {"namespace": "shop", "name": "checkout", "version": 3},
        "description": {},
        "codeVersion": "0.1.0",
        "windowStart": START - 86_400,
        "windowEnd": START,
        "dataHash": "abc",
        "seed": 7,
        "trainedAt": START + 60,
        "request": REQUEST,
        "report": make_report("pod-0", "pod-1"),
        "chunks": [
            {
                "file": name,
                "sha256": sha256(content),
                "bytes": len(content),
                "shard": 0,
                "family": "zscore",
                "watch": "watch-1",
                "series": 2,
            }
            for name, content in contents.items()
        ],
    }
    return manifest | changes


def write_archive(folder: Path, *, chunks: int = 2, **changes: Any) -> Path:
    """A folder as `metricwatch versions export` writes it."""
    contents = {f"{number:06}.safetensors": make_content(seed=number) for number in range(chunks)}
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "model.json").write_text(json.dumps(make_manifest(contents, **changes)))
    return folder
