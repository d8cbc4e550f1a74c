"""What is taken down, and what is left alone."""

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from metricwatch_dev.cluster import cgroups, teardown
from metricwatch_dev.cluster.layout import Layout


@pytest.fixture
def short_directory() -> Iterator[Path]:
    # The name of a socket has room for about a hundred characters only.
    with tempfile.TemporaryDirectory(prefix="mw") as name:
        yield Path(name)


def test_mounts_are_undone_from_the_last_to_the_first_and_only_ours() -> None:
    mounts = "a /c/x ext4 rw 0 0\nb /c/x/y tmpfs rw 0 0\nc /c/xx tmpfs rw 0 0\n"
    assert teardown.mounts_below(Path("/c/x"), mounts) == ("/c/x/y", "/c/x")


def test_only_shims_of_our_own_containerd_are_ours(tmp_path: Path) -> None:
    ours = b"/usr/bin/containerd-shim-runc-v2\0-id\0a\0-address\0/c/containerd.sock\0"
    commands = {
        "10": ours,
        "11": ours.replace(b"/c/", b"/run/containerd/"),
        "12": b"/usr/bin/vi\0/c/containerd.sock\0",
        "13": b"",
    }
    for pid, command in commands.items():
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "cmdline").write_bytes(command)
    (tmp_path / "14").mkdir()
    (tmp_path / "self").mkdir()
    assert teardown.shims(Path("/c/containerd.sock"), proc=tmp_path) == (10,)


def test_links_results_and_dead_sockets_are_left_overs(short_directory: Path) -> None:
    root = short_directory / "cluster"
    (short_directory / "log").symlink_to(root / "pod-logs" / "x.log")
    (short_directory / "result").write_text(f'{{"sandbox": "{root}/netns/1"}}')
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(short_directory / "dead.sock"))
    dead.close()
    for name in ("log", "result", "dead.sock"):
        assert teardown.is_left_over(short_directory / name, root), name


def test_what_belongs_to_others_is_no_left_over(short_directory: Path) -> None:
    root = short_directory / "cluster"
    (short_directory / "log").symlink_to(short_directory / "cluster-of-others" / "x.log")
    (short_directory / "result").write_text('{"sandbox": "/run/netns/1"}')
    (short_directory / "directory").mkdir()
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(str(short_directory / "alive.sock"))
        alive.listen()
        for name in ("log", "result", "directory", "alive.sock"):
            assert not teardown.is_left_over(short_directory / name, root), name


def test_the_group_is_the_one_the_kubelet_was_told(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert teardown.group_of_pods(layout) == layout.cgroup
    layout.configuration.mkdir()
    (layout.configuration / "kubelet.json").write_text('{"cgroupRoot": "/elsewhere"}')
    assert teardown.group_of_pods(layout) == "/elsewhere"


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    for name in ("cpu", "cpuset", "unified"):
        (tmp_path / name).mkdir()
    (tmp_path / "cpuset" / "cpuset.cpus").write_text("0-1\n")
    (tmp_path / "cpuset" / "cpuset.mems").write_text("0\n")
    file = tmp_path / "mounts"
    file.write_text(
        f"cgroup {tmp_path}/cpu cgroup rw,cpu 0 0\n"
        f"cgroup {tmp_path}/cpuset cgroup rw,cpuset 0 0\n"
        f"cgroup2 {tmp_path}/unified cgroup2 rw 0 0\n"
        "tmpfs /tmp tmpfs rw 0 0\n"
    )
    return file


def test_of_mixed_hierarchies_only_version_one_has_controllers(mounts: Path) -> None:
    text = mounts.read_text()
    assert [path.name for path in cgroups.hierarchies(text)] == ["cpu", "cpuset"]
    second = "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n"
    assert cgroups.hierarchies(second) == (Path("/sys/fs/cgroup"),)


def test_a_group_may_use_the_processors_its_parent_may(mounts: Path, tmp_path: Path) -> None:
    group = tmp_path / "cpuset" / "metricwatch-1"
    group.mkdir()
    # The kernel makes these files, empty, with the directory.
    for name in ("cpuset.cpus", "cpuset.mems"):
        (group / name).write_text("\n")
    cgroups.ensure_groups("/metricwatch-1", mounts)
    assert (group / "cpuset.cpus").read_text() == "0-1\n"
    assert (group / "cpuset.mems").read_text() == "0\n"
    assert (tmp_path / "cpu" / "metricwatch-1").is_dir()


def test_groups_are_removed_from_every_hierarchy_deepest_first(
    mounts: Path, tmp_path: Path
) -> None:
    for hierarchy in ("cpu", "unified"):
        (tmp_path / hierarchy / "metricwatch-1" / "kubepods" / "pod1").mkdir(parents=True)
        (tmp_path / hierarchy / "metricwatch-2").mkdir()
    cgroups.remove_groups("/metricwatch-1", mounts)
    for hierarchy in ("cpu", "unified"):
        left = {path.name for path in (tmp_path / hierarchy).iterdir()}
        assert left == {"metricwatch-2"}
