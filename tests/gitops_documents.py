"""The manifests of docs/gitops.md: each block begins with the path of its file."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import yaml

from metricwatch_dev.paths import REPOSITORY

GITOPS_PAGE = REPOSITORY / "docs" / "gitops.md"


@functools.cache
def _files() -> dict[str, str]:
    text = GITOPS_PAGE.read_text(encoding="utf-8")
    return dict(re.findall(r"```yaml\n# (\S+)\n(.*?)```", text, re.S))


def documents(path: str) -> list[dict[str, Any]]:
    """The manifests of one file."""
    return [dict(one) for one in yaml.safe_load_all(_files()[path])]


def write_repository(directory: Path) -> None:
    """Write every file of the page below a directory."""
    for path, text in _files().items():
        file = directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
