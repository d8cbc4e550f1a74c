"""The programs tests and the local cluster are made of, built or unpacked once into the cache.

Each part is a directory of symbolic links: `envtest` follows the KUBEBUILDER_ASSETS convention,
`services` is what tests of storage and sources start, `clients` what a cluster of the user's
needs, `gitops` what says how other tools read our files, `tools` what the local cluster needs,
`policies` what enforces NetworkPolicies on it.
"""

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path

from metricwatch_dev import debian, golang
from metricwatch_dev.debian import PackageGroup
from metricwatch_dev.golang import (
    CLUSTER,
    COREDNS,
    GITOPS,
    HELM,
    KUBERNETES,
    POLICIES,
    GoProject,
)
from metricwatch_dev.locking import file_lock
from metricwatch_dev.paths import cache_directory

ETCD = PackageGroup("etcd", ("etcd-server",))
METRICS = PackageGroup("metrics", ("victoria-metrics", "prometheus"))
CLOCKS = PackageGroup("clocks", ("libfaketime",))
POSTGRESQL = PackageGroup("postgresql", ("postgresql-15", "patchelf"), with_libraries=True)
CONTAINERS = PackageGroup(
    "containers",
    (
        "containerd",
        "runc",
        "containernetworking-plugins",
        "iptables",
        "conntrack",
        "buildah",
        "docker-registry",
        "debootstrap",
        "busybox-static",
        "patchelf",
    ),
    with_libraries=True,
)
WRONG_CLOCK = "libfaketime.so.1"
INSTALLED_POSTGRESQL = Path("/usr/lib/postgresql/15/bin")

ENVTEST_COMMANDS = ("kube-apiserver", "kubectl", "kube-controller-manager")
CONTAINER_PROGRAMS = (
    "containerd",
    "containerd-shim-runc-v2",
    "ctr",
    "runc",
    "conntrack",
    "buildah",
    "docker-registry",
    "debootstrap",
)
# The package leaves the plain names to update-alternatives, which is for installed packages.
IPTABLES_PROGRAMS = tuple(
    f"{family}{suffix}"
    for family in ("iptables", "ip6tables")
    for suffix in ("", "-save", "-restore")
)


class Part(StrEnum):
    """What can be asked for alone, because tests need no more."""

    ENVTEST = "envtest"
    SERVICES = "services"
    CLIENTS = "clients"
    GITOPS = "gitops"
    TOOLS = "tools"
    POLICIES = "policies"


# Five minutes of a core for one test: it is built where it is asked for.
USUAL = tuple(part for part in Part if part is not Part.POLICIES)


def ensure(parts: tuple[Part, ...] = USUAL) -> dict[Part, Path]:
    """Return the directory of programs of each part, building and downloading what is not there.

    Raises:
        MissingPrerequisiteError: Something cannot be had on this machine.
    """
    cache = cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    makers = {
        Part.ENVTEST: _ensure_envtest,
        Part.SERVICES: _ensure_services,
        Part.CLIENTS: _ensure_clients,
        Part.GITOPS: _ensure_gitops,
        Part.TOOLS: _ensure_tools,
        Part.POLICIES: _ensure_policies,
    }
    with ThreadPoolExecutor(4) as background:
        # Downloads overlap with compiling, which is what takes the time. One that fails is tried
        # again, and complained about, by the part that needs it.
        for download in _downloads(parts, cache):
            background.submit(download)
        return {part: makers[part](cache) for part in Part if part in parts}


def packages_directory(cache: Path) -> Path:
    """Return where unpacked Debian packages are kept."""
    return cache / "packages"


def containers_prefix() -> Path:
    """Return the unpacked container programs with their plugins and configuration."""
    return _packages(CONTAINERS, cache_directory())


def ensure_containers() -> Path:
    """Return a directory of buildah and its companions; nothing is built from source."""
    cache = cache_directory()
    directory = cache / "containers"
    _link(_container_programs(cache), directory)
    return directory


def _ensure_envtest(cache: Path) -> Path:
    commands = tuple(f"k8s.io/kubernetes/cmd/{name}" for name in ENVTEST_COMMANDS)
    _build(cache, (KUBERNETES,), only=commands)
    programs = {
        command.rpartition("/")[2]: golang.command_path(KUBERNETES, command, cache=cache)
        for command in commands
    }
    programs["etcd"] = debian.program(_packages(ETCD, cache), "etcd")
    directory = cache / "envtest"
    _link(programs, directory)
    return directory


def _ensure_services(cache: Path) -> Path:
    metrics = _packages(METRICS, cache)
    programs = {
        name: debian.program(metrics, name)
        for name in ("victoria-metrics", "vmalert", "prometheus", "promtool")
    }
    programs["etcd"] = debian.program(_packages(ETCD, cache), "etcd")
    clocks = _packages(CLOCKS, cache)
    programs[WRONG_CLOCK] = debian.program(clocks, WRONG_CLOCK)
    if INSTALLED_POSTGRESQL.is_dir():
        postgresql = INSTALLED_POSTGRESQL
    else:
        postgresql = debian.program(_packages(POSTGRESQL, cache), "initdb").parent
    programs |= {path.name: path for path in postgresql.iterdir()}
    directory = cache / "services" / "bin"
    _link(programs, directory)
    return directory


def _ensure_clients(cache: Path) -> Path:
    commands = ("k8s.io/kubernetes/cmd/kubectl", *HELM.commands)
    _build(cache, (KUBERNETES, HELM), only=commands)
    directory = cache / "clients"
    _link(
        {
            "kubectl": golang.command_path(KUBERNETES, "kubectl", cache=cache),
            "helm": golang.command_path(HELM, "helm", cache=cache),
        },
        directory,
    )
    return directory


def _ensure_gitops(cache: Path) -> Path:
    _build(cache, (GITOPS,))
    directory = cache / "gitops"
    _link(_programs(cache, (GITOPS,)), directory)
    return directory


def _ensure_tools(cache: Path) -> Path:
    _build(cache, CLUSTER)
    programs = _programs(cache, CLUSTER) | _container_programs(cache)
    programs["etcd"] = debian.program(_packages(ETCD, cache), "etcd")
    directory = cache / "tools"
    _link(programs, directory)
    return directory


def _ensure_policies(cache: Path) -> Path:
    _build(cache, (POLICIES,))
    directory = cache / "policies"
    _link(_programs(cache, (POLICIES,)), directory)
    return directory


def _downloads(parts: tuple[Part, ...], cache: Path) -> list[Callable[[], object]]:
    groups: list[PackageGroup] = []
    if Part.ENVTEST in parts:
        groups.append(ETCD)
    if Part.SERVICES in parts:
        groups += [ETCD, METRICS, CLOCKS]
    if Part.TOOLS in parts:
        groups += [ETCD, CONTAINERS]
    downloads: list[Callable[[], object]] = [
        functools.partial(_packages, group, cache) for group in dict.fromkeys(groups)
    ]
    if Part.TOOLS in parts:
        downloads += [
            functools.partial(golang.download, project, cache=cache) for project in (HELM, COREDNS)
        ]
    return downloads


def _container_programs(cache: Path) -> dict[str, Path]:
    prefix = _packages(CONTAINERS, cache)
    programs = {name: debian.program(prefix, name) for name in CONTAINER_PROGRAMS}
    backend = debian.program(prefix, "xtables-nft-multi")
    return programs | dict.fromkeys(IPTABLES_PROGRAMS, backend)


def _programs(cache: Path, projects: tuple[GoProject, ...]) -> dict[str, Path]:
    return {
        command.rpartition("/")[2]: golang.command_path(project, command, cache=cache)
        for project in projects
        for command in project.commands
    }


def _packages(group: PackageGroup, cache: Path) -> Path:
    directory = packages_directory(cache)
    if debian.is_complete(group, packages_directory=directory):
        return directory / group.key
    with file_lock(directory / f"{group.name}.lock", waiting_for=f"the {group.name} packages"):
        return debian.ensure(group, packages_directory=directory)


def _build(
    cache: Path, projects: tuple[GoProject, ...], *, only: tuple[str, ...] | None = None
) -> None:
    if not any(golang.missing_commands(project, cache=cache) for project in projects):
        return
    with file_lock(cache / "go.lock", waiting_for="the Kubernetes parts"):
        for project in projects:
            golang.build(project, cache=cache, only=only)
        if not any(golang.missing_commands(project, cache=cache) for project in golang.PROJECTS):
            golang.remove_compiler_caches(cache)


def _link(programs: dict[str, Path], directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, target in programs.items():
        link = directory / name
        if link.is_symlink() and Path(os.readlink(link)) == target:
            continue
        # Renamed into place: another process may be starting the program right now.
        fresh = directory / f".{name}.{os.getpid()}"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(target)
        fresh.rename(link)
