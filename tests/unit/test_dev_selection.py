"""Which cluster is used."""

import os
from pathlib import Path

import pytest

from metricwatch_dev.cluster.selection import ClusterKind, choose, has_working_kind

LOCAL = Path("/cache/cluster/kubeconfig")


@pytest.mark.parametrize(
    ("kubeconfig", "context", "kind_works", "local_exists", "expected"),
    [
        ("/home/me/config", None, True, True, ClusterKind.OWN),
        (None, "prod", True, True, ClusterKind.OWN),
        (str(LOCAL), "prod", False, True, ClusterKind.OWN),
        (str(LOCAL), None, True, True, ClusterKind.LOCAL),
        ("", None, False, False, ClusterKind.LOCAL),
        (None, None, True, False, ClusterKind.KIND),
        (None, None, True, True, ClusterKind.LOCAL),
        (None, None, False, False, ClusterKind.LOCAL),
    ],
)
def test_the_users_cluster_comes_first_then_kind_then_the_real_parts(
    kubeconfig: str | None,
    context: str | None,
    kind_works: bool,
    local_exists: bool,
    expected: ClusterKind,
) -> None:
    chosen = choose(
        kubeconfig=kubeconfig,
        context=context,
        local_kubeconfig=LOCAL,
        kind_works=kind_works,
        local_exists=local_exists,
    )
    assert chosen is expected


def program(directory: Path, name: str, *, status: int) -> None:
    (directory / name).write_text(f"#!/bin/sh\nexit {status}\n")
    (directory / name).chmod(0o755)


@pytest.mark.parametrize(
    ("programs", "works"),
    [
        ({"kind": 0, "docker": 0}, True),
        ({"kind": 0, "docker": 1}, False),
        ({"docker": 0}, False),
        ({"kind": 0}, False),
    ],
)
def test_kind_needs_itself_and_a_docker_that_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs: dict[str, int], works: bool
) -> None:
    for name, status in programs.items():
        program(tmp_path, name, status=status)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert os.environ["PATH"] == str(tmp_path)
    assert has_working_kind() is works
