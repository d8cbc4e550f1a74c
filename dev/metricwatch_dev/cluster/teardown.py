"""Take the local cluster down: exactly what was started, and nothing is left behind."""

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from metricwatch_dev.cluster import cgroups, network, processes
from metricwatch_dev.cluster.layout import Layout
from metricwatch_dev.cluster.local import cluster_lock, local_layout, local_programs
from metricwatch_dev.paths import cache_directory
from metricwatch_dev.prerequisites import require_root
from metricwatch_dev.progress import step

# Reversed order of start, but the kubelet first: it would start again what we stop.
STOP_ORDER = (
    "kubelet",
    "coredns",
    "kube-proxy",
    "netpol",
    "kube-scheduler",
    "kube-controller-manager",
    "kube-apiserver",
    "docker-registry",
    "etcd",
)
# Places outside the cluster's directory that the kubelet and containerd insist on.
FOREIGN_DIRECTORIES = (
    Path("/run/containerd/s"),
    Path("/run/containerd"),
    Path("/var/lib/kubelet/device-plugins"),
    Path("/var/lib/kubelet"),
    Path("/var/log/containers"),
    Path("/var/lib/cni/results"),
    Path("/var/lib/cni/cache/results"),
    Path("/var/lib/cni/cache"),
    Path("/var/lib/cni"),
)


def down() -> bool:
    """Stop and remove the local cluster; return whether there was one.

    Raises:
        MissingPrerequisiteError: The caller may not.
    """
    layout = local_layout()
    if not layout.root.exists():
        return False
    require_root(why="to take the local cluster down")
    with cluster_lock(), step("taking the local cluster down"):
        group = group_of_pods(layout)
        _stop_everything(layout)
        _unmount(layout.root)
        # The image store is a cache and stays, but not mounted upon itself.
        _unmount(cache_directory() / "images")
        network.remove_packet_filter_rules(local_programs().environment())
        network.remove_bridge()
        network.restore_kernel_settings(layout.machine_settings)
        cgroups.remove_groups(group)
        shutil.rmtree(layout.root)
        _remove_foreign_directories(layout)
    return True


def _stop_everything(layout: Layout) -> None:
    for name in STOP_ORDER:
        _stop(name, layout)
    cgroups.stop_processes(group_of_pods(layout))
    # Shims are started by containerd, but outlive it; their socket says whose they are.
    for pid in shims(layout.containerd_socket):
        # Each ends by itself as well, when it has seen its containers end.
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    _stop("containerd", layout)


def _stop(name: str, layout: Layout) -> None:
    record = processes.find(name, records=layout.processes)
    if record is not None:
        processes.stop(record, grace_seconds=10)


def group_of_pods(layout: Layout) -> str:
    """Return the control group the kubelet was told, which may be of an older version of ours."""
    try:
        told = json.loads((layout.configuration / "kubelet.json").read_text())["cgroupRoot"]
    except (FileNotFoundError, ValueError, KeyError):
        return layout.cgroup
    return str(told)


def shims(address: Path, *, proc: Path = Path("/proc")) -> tuple[int, ...]:
    """Return the container shims that belong to the containerd with this socket."""
    found = []
    for directory in proc.iterdir():
        if not directory.name.isdigit():
            continue
        try:
            arguments = (directory / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"shim" in arguments[0] and os.fsencode(address) in arguments:
            found.append(int(directory.name))
    return tuple(found)


def mounts_below(directory: Path, mounts: str) -> tuple[str, ...]:
    r"""Return mount points at or below a directory, the last mounted first.

    >>> mounts_below(Path("/c"), "a /c t rw 0 0\nb /c/d t rw 0 0\ne /cc t rw 0 0")
    ('/c/d', '/c')
    """
    points = [line.split()[1] for line in mounts.splitlines()]
    wanted = [point for point in points if Path(point).is_relative_to(directory)]
    return tuple(reversed(wanted))


def is_left_over(entry: Path, root: Path) -> bool:
    """Return whether a file outside the cluster's directory belongs to the cluster that was there.

    That is a link into it (a pod's log), a network result that names it, or a socket on which
    nobody listens any more (the kubelet's, a shim's).
    """
    if entry.is_symlink():
        return Path(os.readlink(entry)).is_relative_to(root)
    if entry.is_socket():
        with socket.socket(socket.AF_UNIX) as connection:
            return connection.connect_ex(str(entry)) == errno.ECONNREFUSED
    return entry.is_file() and os.fsencode(root) in entry.read_bytes()


def _unmount(directory: Path) -> None:
    for _ in range(3):
        points = mounts_below(directory, Path("/proc/self/mounts").read_text())
        if not points:
            return
        for point in points:
            subprocess.run(["umount", "--lazy", point], capture_output=True, check=False)
        time.sleep(0.1)


def _remove_foreign_directories(layout: Layout) -> None:
    for directory in FOREIGN_DIRECTORIES:
        if not directory.is_dir():
            continue
        for entry in directory.iterdir():
            if is_left_over(entry, layout.root):
                entry.unlink()
        if not any(directory.iterdir()):
            directory.rmdir()
