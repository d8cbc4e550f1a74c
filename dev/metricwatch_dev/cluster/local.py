"""The local cluster of real parts, as processes of this machine: start it, look at it."""

import subprocess
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from metricwatch_dev import binaries
from metricwatch_dev.binaries import Part
from metricwatch_dev.cluster import cgroups, manifests, network, pki, processes
from metricwatch_dev.cluster.components import Component, Programs, components
from metricwatch_dev.cluster.configuration import write_configurations
from metricwatch_dev.cluster.kubeconfigs import write_kubeconfigs
from metricwatch_dev.cluster.layout import NODE, Layout
from metricwatch_dev.cluster.probes import is_free
from metricwatch_dev.locking import file_lock
from metricwatch_dev.paths import cache_directory, cluster_directory
from metricwatch_dev.pause import ensure_pause_image
from metricwatch_dev.prerequisites import (
    ALTERNATIVES,
    MissingPrerequisiteError,
    require_program,
    require_root,
)
from metricwatch_dev.progress import say, step

PATIENCE_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class ComponentState:
    """What `status` says of one component."""

    name: str
    pid: int | None
    answers: bool


def local_layout() -> Layout:
    """Return where the local cluster is, or would be."""
    return Layout(cluster_directory())


def up() -> Layout:
    """Start what does not run yet and return when the node is Ready; a running cluster is kept.

    Raises:
        MissingPrerequisiteError: This machine lacks something, or a component does not come up.
    """
    require_root(why="to run the local cluster's kubelet and network")
    require_program("ip", why="for the cluster's bridge", install="apt-get install iproute2")
    programs = local_programs()
    layout = local_layout()
    with cluster_lock():
        waves = components(layout, programs)
        if _all_run(layout, waves):
            # The registry's content is a cache: somebody may have emptied it.
            ensure_pause_image()
            return layout
        with step("local cluster"):
            _prepare(layout, programs)
            _start(layout, programs, waves)
    return layout


def local_programs() -> Programs:
    """Return the programs of the cluster, building what is missing."""
    tools = binaries.ensure((Part.TOOLS,))[Part.TOOLS]
    (extensions,) = binaries.containers_prefix().glob("usr/lib/*/xtables")
    return Programs(tools, extensions)


def cluster_lock() -> AbstractContextManager[int]:
    """Return the lock of the local cluster: a machine has addresses for one only."""
    return file_lock(cache_directory() / "cluster.lock", waiting_for="the local cluster")


def component_states(layout: Layout, programs: Programs) -> tuple[ComponentState, ...]:
    """Return what each component does now."""
    states = []
    for wave in components(layout, programs):
        for component in wave:
            record = processes.find(component.name, records=layout.processes)
            answers = record is not None and component.probe()
            states.append(ComponentState(component.name, record.pid if record else None, answers))
    return tuple(states)


def _all_run(layout: Layout, waves: tuple[tuple[Component, ...], ...]) -> bool:
    return (layout.root / ".ready").exists() and all(
        processes.find(component.name, records=layout.processes) is not None
        for wave in waves
        for component in wave
    )


def _prepare(layout: Layout, programs: Programs) -> None:
    network.check_addresses_are_free()
    layout.root.mkdir(parents=True, exist_ok=True)
    layout.root.chmod(0o711)
    (layout.root / ".ready").unlink(missing_ok=True)
    network.ensure_bridge()
    network.change_kernel_settings(layout.machine_settings)
    cgroups.ensure_groups(layout.cgroup)
    pki.ensure_certificates(layout)
    write_kubeconfigs(layout)
    write_configurations(
        layout,
        tools=programs.tools,
        plugins=binaries.containers_prefix() / "usr/lib/cni",
        registry=cache_directory() / "registry",
    )


def _start(layout: Layout, programs: Programs, waves: tuple[tuple[Component, ...], ...]) -> None:
    foundation, control_plane, rest = waves
    kubectl = programs.tools / "kubectl"
    for wave in (foundation, control_plane):
        for component in wave:
            _ensure_started(component, layout, programs)
        for component in wave:
            _wait(component, layout)
    manifests.renew_released_volumes(layout, kubectl=kubectl)
    manifests.apply(layout, kubectl=kubectl)
    for component in rest:
        _ensure_started(component, layout, programs)
    ensure_pause_image()
    for component in rest:
        _wait(component, layout)
    _wait_for_node(layout, kubectl)
    (layout.root / ".ready").touch()


def _ensure_started(component: Component, layout: Layout, programs: Programs) -> None:
    if processes.find(component.name, records=layout.processes) is not None:
        return
    for address, port in component.listens:
        if not is_free(address, port):
            raise MissingPrerequisiteError(
                f"port {port} on {address}, which {component.name} needs, is taken by another "
                f"program: stop it (ss -ltnp 'sport = :{port}' names it). {ALTERNATIVES}"
            )
    processes.start(
        component.name,
        component.arguments,
        environment=programs.environment(),
        records=layout.processes,
        logs=layout.logs,
    )


def _wait(component: Component, layout: Layout) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not component.probe():
        ended = processes.find(component.name, records=layout.processes) is None
        if ended or time.monotonic() > deadline:
            log = layout.logs / f"{component.name}.log"
            what = "ended at once" if ended else f"does not answer after {PATIENCE_SECONDS:.0f} s"
            raise MissingPrerequisiteError(
                f"{component.name} {what}; its last words: {_last_line(log)!r} ({log}). "
                + ALTERNATIVES
            )
        time.sleep(0.1)


def _wait_for_node(layout: Layout, kubectl: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    condition = 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'
    command = [str(kubectl), "--kubeconfig", str(layout.kubeconfig)]
    while time.monotonic() < deadline:
        answer = subprocess.run(
            [*command, "get", "node", NODE, "-o", condition],
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.stdout == "True":
            return
        time.sleep(0.25)
    raise MissingPrerequisiteError(
        f"the node is not Ready after {PATIENCE_SECONDS:.0f} s; see {layout.logs}/kubelet.log. "
        + ALTERNATIVES
    )


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return lines[-1][:300] if lines else "none"


def report(layout: Layout) -> bool:
    """Print what runs; return whether everything does."""
    states = component_states(layout, local_programs())
    for state in states:
        does = "answers" if state.answers else "does not answer" if state.pid else "not running"
        say(f"  {state.name:<24} {state.pid or '-':>8}  {does}")
    return all(state.answers for state in states)
