"""Writing the chart's dashboards, or saying which of them are old."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from metricwatch_dev.dashboards import anomalies, itself
from metricwatch_dev.paths import REPOSITORY
from metricwatch_dev.progress import say

DIRECTORY = REPOSITORY / "charts" / "metricwatch" / "files" / "dashboards"
DASHBOARDS: dict[str, Callable[[], Dashboard]] = {
    "metricwatch-anomalies.json": anomalies.build,
    "metricwatch-itself.json": itself.build,
}


def run(*, check: bool) -> int:
    """Write what changed; with `check` only say so. Gives the exit status."""
    old = [name for name in DASHBOARDS if not _is_written(DIRECTORY / name, render(name))]
    if check:
        for name in old:
            say(f"{name} is old: run python -m metricwatch_dev dashboards")
        return 1 if old else 0
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    for name in old:
        (DIRECTORY / name).write_text(render(name))
        say(f"wrote {name}")
    return 0


def _is_written(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


def render(name: str) -> str:
    """The JSON of a dashboard, with a number for each panel, as Grafana would give it."""
    built = DASHBOARDS[name]().build()
    for number, panel in enumerate(built.panels or (), start=1):
        panel.id_val = number
    return json.dumps(built, cls=JSONEncoder, indent=2, ensure_ascii=False) + "\n"
