"""What other tools make of our files, asked of the libraries that they are made of."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metricwatch_dev import golang
from metricwatch_dev.paths import REPOSITORY, cache_directory

HEALTH_SCRIPT = REPOSITORY / "docs" / "gitops" / "health.lua"
Manifest = Mapping[str, Any]


def argo_health(objects: Sequence[Manifest]) -> list[tuple[str, str]]:
    """Health and message that Argo CD shows of each object with our script."""
    return [_pair(one) for one in _ask("argohealth", str(HEALTH_SCRIPT), given=objects)]


def kstatus(objects: Sequence[Manifest]) -> list[tuple[str, str]]:
    """Status and message that kstatus, and so Flux, computes of each object."""
    return [_pair(one) for one in _ask("kstatus", given=objects)]


def evaluate_tiltfile(path: Path, builtins: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The calls that a Tiltfile makes, in their order."""
    return list(_ask("tiltfile", str(path), given=builtins))


def _pair(answer: Mapping[str, str]) -> tuple[str, str]:
    return answer["status"], answer["message"]


def _ask(name: str, *arguments: str, given: object) -> Any:
    command = next(one for one in golang.GITOPS.commands if one.endswith(f"/{name}"))
    program = golang.command_path(golang.GITOPS, command, cache=cache_directory())
    assert program.exists(), "run `python -m metricwatch_dev binaries --only gitops`"
    done = subprocess.run(
        [program, *arguments], input=json.dumps(given), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
