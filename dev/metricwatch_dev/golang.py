"""Programs built from pinned Go modules.

Each directory under `gomodules/` is a small module whose go.mod and go.sum pin one project and
everything it is made of: a build gives the same program on every machine, from reviewed checksums.
"""

import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from metricwatch_dev.prerequisites import MissingPrerequisiteError, require_program
from metricwatch_dev.progress import step

MODULES = Path(__file__).parent / "gomodules"
# From 1.21 on Go fetches the newer toolchain that a module asks for by itself.
OLDEST_GO = (1, 21)


@dataclass(frozen=True, slots=True)
class GoProject:
    """One pinned module and the commands taken from it, in the order they are built."""

    name: str
    version: str
    commands: tuple[str, ...]
    linker_flags: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Return the directory name of the built commands."""
        return f"{self.name}-{self.version}"


KUBERNETES = GoProject(
    "kubernetes",
    "v1.34.4",
    # The API server first: most tests wait for nothing else.
    tuple(
        f"k8s.io/kubernetes/cmd/{command}"
        for command in (
            "kube-apiserver",
            "kubectl",
            "kube-controller-manager",
            "kube-scheduler",
            "kubelet",
            "kube-proxy",
        )
    ),
    (
        "-X k8s.io/component-base/version.gitVersion=v1.34.4",
        "-X k8s.io/component-base/version.gitMajor=1",
        "-X k8s.io/component-base/version.gitMinor=34",
    ),
)
HELM = GoProject(
    "helm",
    "v3.22.0",
    ("helm.sh/helm/v3/cmd/helm",),
    ("-X helm.sh/helm/v3/internal/version.version=v3.22.0",),
)
COREDNS = GoProject("coredns", "v1.12.4", ("github.com/coredns/coredns",))
CLUSTER = (KUBERNETES, HELM, COREDNS)


def own_version(name: str) -> str:
    """A version of a module whose programs are written here: the hash of its files."""
    digest = hashlib.sha256()
    for path in sorted((MODULES / name).rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(MODULES)}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


# What Argo CD, Flux and Tilt make of our files, by the libraries that they are made of.
GITOPS = GoProject(
    "gitops",
    own_version("gitops"),
    tuple(f"metricwatch.io/dev/gitops/{name}" for name in ("argohealth", "kstatus", "tiltfile")),
)
# What enforces NetworkPolicies on the local cluster, for the one test that asks for it.
POLICIES = GoProject("policies", own_version("policies"), ("metricwatch.io/dev/policies/netpol",))
PROJECTS = (*CLUSTER, GITOPS)


def command_path(project: GoProject, command: str, *, cache: Path) -> Path:
    """Return where the built command is kept."""
    return cache / "bin" / project.key / command.rpartition("/")[2]


def missing_commands(project: GoProject, *, cache: Path) -> tuple[str, ...]:
    """Return the commands of the project that are not built yet."""
    return tuple(
        command
        for command in project.commands
        if not command_path(project, command, cache=cache).exists()
    )


def build(project: GoProject, *, cache: Path, only: tuple[str, ...] | None = None) -> None:
    """Build the project's missing commands into the cache.

    Raises:
        MissingPrerequisiteError: There is no Go, it is too old, or modules cannot be downloaded.
    """
    wanted = [
        command
        for command in missing_commands(project, cache=cache)
        if only is None or command in only
    ]
    if not wanted:
        return
    require_go()
    for command in wanted:
        target = command_path(project, command, cache=cache)
        target.parent.mkdir(parents=True, exist_ok=True)
        with step(f"building {target.name} {project.version}"):
            _compile(project, command, target, cache=cache)


def download(project: GoProject, *, cache: Path) -> None:
    """Download the project's modules when something of it is still to be built."""
    if missing_commands(project, cache=cache):
        require_go()
        _go(["mod", "download"], project, cache=cache)


def remove_compiler_caches(cache: Path) -> None:
    """Remove modules and object files (about 5 GB) once everything is built."""
    shutil.rmtree(cache / "go", ignore_errors=True)


def require_go() -> None:
    """Check that Go is there and new enough.

    Raises:
        MissingPrerequisiteError: It is not.
    """
    go = require_program(
        "go",
        why="to build the Kubernetes parts",
        install=f"install Go {OLDEST_GO[0]}.{OLDEST_GO[1]} or newer",
    )
    answer = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False)
    found = re.match(r"go(\d+)\.(\d+)", answer.stdout)
    if found is None or (int(found[1]), int(found[2])) < OLDEST_GO:
        raise MissingPrerequisiteError(
            f"{go} is {answer.stdout.strip() or 'unknown'}, but the Kubernetes parts need Go "
            f"{OLDEST_GO[0]}.{OLDEST_GO[1]} or newer: install it and put it first on PATH."
        )


def _compile(project: GoProject, command: str, target: Path, *, cache: Path) -> None:
    unfinished = target.with_suffix(".unfinished")
    flags = " ".join(("-s", "-w", *project.linker_flags))
    arguments = ["build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", flags]
    _go([*arguments, "-o", str(unfinished), command], project, cache=cache)
    unfinished.rename(target)


def _go(arguments: list[str], project: GoProject, *, cache: Path) -> None:
    # The compiler's caches live under ours, writable, so that they can be removed with it.
    environment = {
        "GOMODCACHE": str(cache / "go" / "mod"),
        "GOCACHE": str(cache / "go" / "build"),
        "GOFLAGS": "-modcacherw",
        "CGO_ENABLED": "0",
    }
    done = subprocess.run(
        ["go", *arguments],
        cwd=MODULES / project.name,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise MissingPrerequisiteError(
            f"go {arguments[0]} of {project.name} {project.version} failed ({reason}): check the "
            "network and GOPROXY, then run it again; what is built already is kept."
        )
