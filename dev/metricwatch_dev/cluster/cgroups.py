"""The control group every pod of the local cluster runs in: what is in it is ours to stop."""

import os
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

MOUNTS = Path("/proc/self/mounts")


def ensure_groups(group: str, mounts: Path = MOUNTS) -> None:
    """Make the group in every hierarchy; the kubelet refuses a group that is not there."""
    for hierarchy in hierarchies(mounts.read_text()):
        directory = hierarchy / group.lstrip("/")
        directory.mkdir(exist_ok=True)
        # Version 1 starts a cpuset empty, and nothing runs in an empty one.
        for name in ("cpuset.cpus", "cpuset.mems"):
            file = directory / name
            if (hierarchy / "cpuset.cpus").exists() and not file.read_text().strip():
                shutil.copyfile(hierarchy / name, file)


def stop_processes(group: str, mounts: Path = MOUNTS) -> None:
    """Kill every process in the group; containers of a cluster thrown away need no farewell."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        pids = _processes(group, mounts)
        if not pids:
            return
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.1)


def remove_groups(group: str, mounts: Path = MOUNTS) -> None:
    """Remove the group and those below it, deepest first."""
    # All of them: beside version 1 the runtime also leaves empty groups in version 2.
    for hierarchy in _mounted(mounts.read_text(), "cgroup", "cgroup2"):
        for directory, _, _ in os.walk(hierarchy / group.lstrip("/"), topdown=False):
            _remove_patiently(Path(directory))


def hierarchies(mounts: str) -> tuple[Path, ...]:
    r"""Return where control groups are mounted: many places in version 1, one in version 2.

    >>> hierarchies("cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\ncgroup2 /c/unified cgroup2 rw 0 0")
    (PosixPath('/sys/fs/cgroup/cpu'),)
    """
    # Beside version 1 hierarchies a version 2 one has no controllers.
    return _mounted(mounts, "cgroup") or _mounted(mounts, "cgroup2")


def _mounted(mounts: str, *kinds: str) -> tuple[Path, ...]:
    lines = [line.split() for line in mounts.splitlines()]
    return tuple(dict.fromkeys(Path(words[1]) for words in lines if words[2] in kinds))


def _processes(group: str, mounts: Path) -> set[int]:
    pids: set[int] = set()
    for hierarchy in hierarchies(mounts.read_text()):
        # Groups vanish while one looks, with a pod that ends: os.walk goes on, rglob would not.
        for directory, _, _ in os.walk(hierarchy / group.lstrip("/")):
            with suppress(OSError):
                listed = Path(directory, "cgroup.procs").read_text()
                pids.update(int(pid) for pid in listed.split())
    return pids


def _remove_patiently(directory: Path) -> None:
    # A group stays busy for a moment after its last process was killed.
    for _ in range(50):
        try:
            directory.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
