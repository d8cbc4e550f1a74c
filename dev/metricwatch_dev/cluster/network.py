"""The node's network on this machine: the bridge, kernel settings, and packet-filter rules.

Every change here is one that `down` takes back.
"""

import ipaddress
import itertools
import json
import os
import shlex
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from metricwatch_dev.cluster.layout import BRIDGE, NODE_ADDRESS, POD_NETWORK, SERVICE_NETWORK
from metricwatch_dev.prerequisites import ALTERNATIVES, MissingPrerequisiteError

# Set by us, the kubelet, kube-proxy or the bridge plugin; put back as they were afterwards.
KERNEL_SETTINGS = (
    "net/ipv4/ip_forward",
    "net/bridge/bridge-nf-call-iptables",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
# A Service's answer between two pods of one bridge is translated back only when bridged packets
# pass the packet filter.
NEEDED_SETTINGS = {"net/ipv4/ip_forward": "1", "net/bridge/bridge-nf-call-iptables": "1"}
CHAIN_PREFIXES = ("KUBE-", "CNI-")
TABLES = ("mangle", "nat", "filter")


def check_addresses_are_free() -> None:
    """Check that no other interface or route uses the cluster's networks.

    Raises:
        MissingPrerequisiteError: One does.
    """
    answer = subprocess.run(
        ["ip", "-json", "-4", "route"], capture_output=True, text=True, check=True
    )
    for route in json.loads(answer.stdout or "[]"):
        if route["dst"] == "default" or route.get("dev") == BRIDGE:
            continue
        for wanted in (POD_NETWORK, SERVICE_NETWORK):
            destination = ipaddress.ip_network(route["dst"], strict=False)
            if destination.overlaps(ipaddress.ip_network(wanted)):
                raise MissingPrerequisiteError(
                    f"the network {wanted} is in use by {route.get('dev', 'a route')} "
                    f"({route['dst']}): another cluster seems to run here. {ALTERNATIVES}"
                )


def ensure_bridge() -> None:
    """Make the bridge with the node's address on it."""
    if not _has_bridge():
        _ip("link", "add", BRIDGE, "type", "bridge")
    _ip("address", "replace", f"{NODE_ADDRESS}/24", "dev", BRIDGE)
    _ip("link", "set", BRIDGE, "up")


def remove_bridge() -> None:
    """Remove the bridge; the pods' ends of it go with their network namespaces."""
    if _has_bridge():
        _ip("link", "delete", BRIDGE)


def change_kernel_settings(remembered: Path) -> None:
    """Set what the cluster needs, remembering first how everything was."""
    if not remembered.exists():
        before = {
            name: path.read_text().strip()
            for name in KERNEL_SETTINGS
            if (path := Path("/proc/sys") / name).exists()
        }
        remembered.write_text(json.dumps(before, indent=1))
    for name, value in NEEDED_SETTINGS.items():
        _set(name, value)


def restore_kernel_settings(remembered: Path) -> None:
    """Put the kernel settings back as they were."""
    if remembered.exists():
        for name, value in json.loads(remembered.read_text()).items():
            _set(name, value)


def remove_packet_filter_rules(environment: Mapping[str, str]) -> None:
    """Remove the chains of Kubernetes and of the network plugins, and the jumps to them."""
    for program in ("iptables", "ip6tables"):
        for table in TABLES:
            saved = subprocess.run(
                [f"{program}-save", "-t", table],
                capture_output=True,
                text=True,
                check=False,
                env=environment,
            )
            script = removal_script(saved.stdout.splitlines(), table=table)
            if script:
                subprocess.run(
                    [f"{program}-restore", "--noflush"],
                    input=script,
                    text=True,
                    check=True,
                    env=environment,
                )


def removal_script(saved: Iterable[str], *, table: str) -> str:
    """Return the `iptables-restore --noflush` script that removes our chains of a saved table.

    Rules of foreign chains are named one by one, so that nothing of anybody else is touched.

    >>> print(removal_script([":KUBE-X - [0:0]", "-A INPUT -j KUBE-X", "-A INPUT -j ACCEPT"],
    ...                      table="filter"))
    *filter
    -D INPUT -j KUBE-X
    -F KUBE-X
    -X KUBE-X
    COMMIT
    <BLANKLINE>
    """
    chains, jumps = [], []
    for line in saved:
        # Comments are quoted, and may hold words that look like options.
        words = shlex.split(line)
        if line.startswith(":") and words[0][1:].startswith(CHAIN_PREFIXES):
            chains.append(words[0][1:])
        elif line.startswith("-A ") and not words[1].startswith(CHAIN_PREFIXES):
            target = next(
                (after for word, after in itertools.pairwise(words) if word in {"-j", "-g"}),
                "",
            )
            if target.startswith(CHAIN_PREFIXES):
                jumps.append(line.replace("-A ", "-D ", 1))
    if not chains and not jumps:
        return ""
    lines = [f"*{table}", *jumps]
    lines += [f"-F {chain}" for chain in chains]
    lines += [f"-X {chain}" for chain in chains]
    return "\n".join([*lines, "COMMIT", ""])


def _has_bridge() -> bool:
    shown = subprocess.run(["ip", "link", "show", BRIDGE], capture_output=True, check=False)
    return shown.returncode == 0


def _set(name: str, value: str) -> None:
    path = Path("/proc/sys") / name
    if path.exists() and path.read_text().strip() != value:
        try:
            path.write_text(value)
        except OSError as error:
            raise MissingPrerequisiteError(
                f"the kernel setting {name.replace('/', '.')} cannot be set to {value} "
                f"({os.strerror(error.errno or 0)}). {ALTERNATIVES}"
            ) from error


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise MissingPrerequisiteError(
            f"ip {' '.join(arguments)} failed ({done.stderr.strip()}). {ALTERNATIVES}"
        )
