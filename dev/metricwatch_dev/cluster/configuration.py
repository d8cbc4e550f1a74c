"""Configuration files of the components; why a setting is there is said where it is not plain."""

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from metricwatch_dev.cluster.kubeconfigs import write_private
from metricwatch_dev.cluster.layout import (
    BRIDGE,
    CLUSTER_DOMAIN,
    DNS_PORT,
    DNS_READY_PORT,
    KUBE_PROXY_HEALTH_PORT,
    KUBE_PROXY_METRICS_PORT,
    KUBELET_HEALTH_PORT,
    KUBELET_PORT,
    NODE,
    NODE_ADDRESS,
    PAUSE_IMAGE,
    POD_NETWORK,
    REGISTRY,
    Layout,
)

RESOLVER = Path("/etc/resolv.conf")


def write_configurations(layout: Layout, *, tools: Path, plugins: Path, registry: Path) -> None:
    """Write every component's configuration.

    Args:
        layout: Files of the cluster.
        tools: Directory of programs.
        plugins: Directory of CNI plugins.
        registry: Directory of the image registry's content, which outlives the cluster.
    """
    directory = layout.configuration
    directory.mkdir(parents=True, exist_ok=True)
    files = {
        "containerd.toml": containerd(
            layout, runc=tools / "runc", plugins=plugins, snapshotter=_snapshotter(layout)
        ),
        "cni/10-metricwatch.conflist": json.dumps(network(layout), indent=1),
        f"registries/{REGISTRY}/hosts.toml": registry_hosts(),
        "registry.yml": json.dumps(image_registry(registry), indent=1),
        "kubelet.json": json.dumps(kubelet(layout), indent=1),
        "kube-proxy.json": json.dumps(kube_proxy(layout), indent=1),
        "Corefile": corefile(layout, forward=has_nameserver(RESOLVER)),
    }
    for name, content in files.items():
        write_private(directory / name, content)


def containerd(layout: Layout, *, runc: Path, plugins: Path, snapshotter: str) -> str:
    """Return the configuration of a containerd that shares nothing with the machine's own."""
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""\
version = 2
root = "{layout.root}/containerd/root"
state = "{layout.root}/containerd/state"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp",
]
[grpc]
address = "{layout.containerd_socket}"
[plugins."io.containerd.internal.v1.opt"]
path = "{layout.root}/containerd/opt"
[{cri}]
sandbox_image = "{PAUSE_IMAGE}"
disable_apparmor = true
# Without CAP_SYS_RESOURCE every sandbox fails: "can't get final child's PID from pipe".
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[{cri}.containerd]
# The registry beside it has them: keeping them would take their room a third time.
discard_unpacked_layers = true
snapshotter = "{snapshotter}"
default_runtime_name = "runc"
[{cri}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[{cri}.containerd.runtimes.runc.options]
BinaryName = "{runc}"
Root = "{layout.root}/containerd/runc"
SystemdCgroup = false
[{cri}.cni]
bin_dir = "{plugins}"
conf_dir = "{layout.configuration}/cni"
[{cri}.registry]
config_path = "{layout.configuration}/registries"
"""


def network(layout: Layout) -> dict[str, Any]:
    """Return the CNI configuration: one bridge, addresses handed out on this host."""
    return {
        "cniVersion": "0.4.0",
        "name": "metricwatch",
        "plugins": [
            {
                "type": "bridge",
                "bridge": BRIDGE,
                "isGateway": True,
                "ipMasq": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(layout.root / "addresses"),
                    "ranges": [[{"subnet": POD_NETWORK}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def registry_hosts() -> str:
    """Return the permission to use plain HTTP with the registry on the node's own bridge."""
    return f"""\
server = "http://{REGISTRY}"
[host."http://{REGISTRY}"]
capabilities = ["pull", "resolve"]
"""


def image_registry(content: Path) -> dict[str, Any]:
    """Return the registry's configuration."""
    return {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(content)},
            "delete": {"enabled": True},
        },
        "http": {"addr": REGISTRY},
    }


def kubelet(layout: Layout) -> dict[str, Any]:
    """Return the kubelet's configuration."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_ADDRESS,
        "port": KUBELET_PORT,
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": KUBELET_HEALTH_PORT,
        "tlsCertFile": str(layout.certificate("kubelet-server")),
        "tlsPrivateKeyFile": str(layout.key("kubelet-server")),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(layout.certificate("ca"))},
        },
        "authorization": {"mode": "Webhook"},
        "clusterDNS": [NODE_ADDRESS],
        "clusterDomain": CLUSTER_DOMAIN,
        "containerRuntimeEndpoint": f"unix://{layout.containerd_socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": layout.cgroup,
        "failCgroupV1": False,
        "failSwapOn": False,
        # Raising these needs a capability that a container or a small machine may lack.
        "oomScoreAdj": 0,
        "podLogsDir": str(layout.root / "pod-logs"),
        # A developer's disk is often nearly full; evicting the cluster from it helps nobody.
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
        },
        "imageGCHighThresholdPercent": 100,
        # Instead: every change of code leaves images behind.
        "imageMaximumGCAge": "2h",
        "serializeImagePulls": False,
        "maxPods": 200,
    }


def kube_proxy(layout: Layout) -> dict[str, Any]:
    """Return kube-proxy's configuration."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "hostnameOverride": NODE,
        "clusterCIDR": POD_NETWORK,
        "bindAddress": "0.0.0.0",
        "healthzBindAddress": f"127.0.0.1:{KUBE_PROXY_HEALTH_PORT}",
        "metricsBindAddress": f"127.0.0.1:{KUBE_PROXY_METRICS_PORT}",
        "oomScoreAdj": 0,
        # Leave the machine's connection tracking as it is.
        "conntrack": {"maxPerCore": 0, "min": 0},
        "iptables": {"localhostNodePorts": False},
        "clientConnection": {"kubeconfig": str(layout.component_kubeconfig("kube-proxy"))},
    }


def corefile(layout: Layout, *, forward: bool) -> str:
    """Return CoreDNS' configuration; without `forward`, only names of the cluster resolve."""
    outside = f"    forward . {RESOLVER}\n    cache 30\n" if forward else ""
    return f"""\
.:{DNS_PORT} {{
    bind {NODE_ADDRESS}
    errors
    ready 127.0.0.1:{DNS_READY_PORT}
    kubernetes {CLUSTER_DOMAIN} in-addr.arpa ip6.arpa {{
        kubeconfig {layout.component_kubeconfig("coredns")} metricwatch
        fallthrough in-addr.arpa ip6.arpa
        ttl 5
    }}
{outside}}}
"""


def has_nameserver(resolver: Path) -> bool:
    """Return whether the machine knows a name server to forward other names to."""
    try:
        lines = resolver.read_text().splitlines()
    except OSError:
        return False
    return any(line.split()[:1] == ["nameserver"] for line in lines)


def _snapshotter(layout: Layout) -> str:
    """Return `overlayfs` where this file system supports it, else `native`, which copies."""
    layout.root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=layout.root, prefix="overlay-") as name:
        base = Path(name)
        for part in ("lower", "upper", "work", "merged"):
            (base / part).mkdir()
        options = f"lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work"
        mounted = subprocess.run(
            ["mount", "-t", "overlay", "overlay", "-o", options, str(base / "merged")],
            capture_output=True,
            check=False,
        )
        if mounted.returncode != 0:
            return "native"
        subprocess.run(["umount", str(base / "merged")], check=True)
        return "overlayfs"
