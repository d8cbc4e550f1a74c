"""The report as one HTML page that works without a network."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

PAGE = "report.html"
MOST_POINTS = 600_000
"""Points of all columns together: the page stays below some 20 MB."""
_MOST_OF_A_COLUMN = 20_000
_LEAST_OF_A_COLUMN = 400


def points_for(columns: int) -> int:
    """Returns how many points each of so many columns may have."""
    share = MOST_POINTS // max(columns, 1)
    return max(_LEAST_OF_A_COLUMN, min(_MOST_OF_A_COLUMN, share))


def write_page(
    path: Path, report: Mapping[str, Any], parts: Iterable[Path], *, time_zone: str
) -> None:
    """Writes the page.

    Args:
        path: where to.
        report: as in report.json.
        parts: files with the samples of each series, in the order of the report.
        time_zone: in which times are shown.
    """
    about = {"report": report, "timeZone": time_zone}
    template = _part("page.html")
    head, rest = template.split("/*STYLE*/")
    middle, rest = rest.split("/*DATA*/")
    before_script, tail = rest.split("/*SCRIPT*/")
    with path.open("w", encoding="utf-8") as file:
        file.write(head + _part("page.css") + middle)
        file.write('{"about":' + _safe(json.dumps(about, allow_nan=False)) + ',"series":[')
        for number, part in enumerate(parts):
            file.write("," if number else "")
            file.write(_safe(part.read_text(encoding="utf-8")))
        file.write("]}" + before_script + _part("page.js") + tail)


def _safe(text: str) -> str:
    """JSON inside a script element must not end it."""
    return text.replace("<", "\\u003c")


def _part(name: str) -> str:
    return (files("metricwatch_cli.backtest") / "page" / name).read_text(encoding="utf-8")
