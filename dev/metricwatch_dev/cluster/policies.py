"""NetworkPolicies enforced on the local cluster, whose network plugin is a plain bridge.

The packet filter hands the first packet of every connection that a pod begins to netpol, which
knows the cluster's pods and policies. Without netpol everything is let through.
"""

import subprocess
import time
from pathlib import Path

from metricwatch_dev import binaries
from metricwatch_dev.binaries import Part
from metricwatch_dev.cluster import processes
from metricwatch_dev.cluster.components import Programs
from metricwatch_dev.cluster.layout import BRIDGE, NODE, Layout
from metricwatch_dev.prerequisites import MissingPrerequisiteError

PROCESS = "netpol"
CHAIN = "KUBE-NETWORK-POLICIES"
QUEUE = 100
PATIENCE_SECONDS = 60.0
# To other pods and beyond by FORWARD, to the node, where API server and DNS are, by INPUT. What
# the node itself begins, like the kubelet's probes, passes neither.
ENFORCE = f"""\
*mangle
:{CHAIN} - [0:0]
-A {CHAIN} -m conntrack --ctstate NEW -j NFQUEUE --queue-num {QUEUE} --queue-bypass
-A FORWARD -i {BRIDGE} -j {CHAIN}
-A INPUT -i {BRIDGE} -j {CHAIN}
COMMIT
"""
RELEASE = f"""\
*mangle
-D FORWARD -i {BRIDGE} -j {CHAIN}
-D INPUT -i {BRIDGE} -j {CHAIN}
-F {CHAIN}
-X {CHAIN}
COMMIT
"""


def enforce(layout: Layout, programs: Programs) -> None:
    """Enforce the cluster's policies from now on.

    Raises:
        MissingPrerequisiteError: The kernel or netpol does not do it.
    """
    release(layout, programs)
    program = binaries.ensure((Part.POLICIES,))[Part.POLICIES] / PROCESS
    flags = (f"-kubeconfig={layout.kubeconfig}", f"-node={NODE}", f"-queue={QUEUE}")
    processes.start(
        PROCESS,
        (str(program), *flags),
        environment=programs.environment(),
        records=layout.processes,
        logs=layout.logs,
    )
    _wait_for_queue(layout)
    done = _filter(ENFORCE, programs)
    if done.returncode != 0:
        release(layout, programs)
        raise MissingPrerequisiteError(f"the packet filter has no queues: {done.stderr.strip()}")


def release(layout: Layout, programs: Programs) -> None:
    """Let everything through again; nothing to do where nothing is enforced."""
    _filter(RELEASE, programs)
    record = processes.find(PROCESS, records=layout.processes)
    if record is not None:
        processes.stop(record, grace_seconds=10)
    # The records of the cluster's processes are of those that run.
    (layout.processes / f"{PROCESS}.json").unlink(missing_ok=True)


def answered_queues(table: str) -> set[int]:
    r"""Return the queues that somebody answers, from the kernel's table of them.

    >>> answered_queues("  100  23456     0 2   128     0     0        7  1\n")
    {100}
    """
    return {int(line.split()[0]) for line in table.splitlines()}


def _wait_for_queue(layout: Layout) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while QUEUE not in answered_queues(
        Path("/proc/self/net/netfilter/nfnetlink_queue").read_text()
    ):
        if processes.find(PROCESS, records=layout.processes) is None or (
            time.monotonic() > deadline
        ):
            raise MissingPrerequisiteError(
                f"{PROCESS} answers no queue of the packet filter; see {layout.logs}/{PROCESS}.log"
            )
        time.sleep(0.1)


def _filter(script: str, programs: Programs) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(programs.tools / "iptables-restore"), "--noflush", "--wait"],
        input=script,
        capture_output=True,
        text=True,
        check=False,
        env=programs.environment(),
    )
