"""Names, addresses and files of the local cluster: everything under one directory."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

NODE = "metricwatch"
BRIDGE = "mw0"
# The node's address must not be loopback, so that pods reach the API server there.
NODE_ADDRESS = "10.244.0.1"
POD_NETWORK = "10.244.0.0/24"
SERVICE_NETWORK = "10.96.0.0/16"
API_SERVICE_ADDRESS = "10.96.0.1"
CLUSTER_DOMAIN = "cluster.local"

API_SERVER_PORT = 6443
ETCD_PORT = 12379
ETCD_PEER_PORT = 12380
CONTROLLER_MANAGER_PORT = 10257
SCHEDULER_PORT = 10259
KUBELET_PORT = 10250
KUBELET_HEALTH_PORT = 10248
KUBE_PROXY_HEALTH_PORT = 10256
KUBE_PROXY_METRICS_PORT = 10249
DNS_PORT = 53
DNS_READY_PORT = 18181
REGISTRY_PORT = 5000

API_SERVER_URL = f"https://{NODE_ADDRESS}:{API_SERVER_PORT}"
REGISTRY = f"{NODE_ADDRESS}:{REGISTRY_PORT}"
PAUSE_IMAGE = f"{REGISTRY}/metricwatch/pause:1"


@dataclass(frozen=True, slots=True)
class Layout:
    """Files of one cluster."""

    root: Path

    @property
    def pki(self) -> Path:
        """Return the directory of certificates and keys."""
        return self.root / "pki"

    @property
    def kubeconfig(self) -> Path:
        """Return the administrator's kubeconfig."""
        return self.root / "kubeconfig"

    @property
    def configuration(self) -> Path:
        """Return the directory of the components' configuration files."""
        return self.root / "etc"

    @property
    def logs(self) -> Path:
        """Return the directory of the components' output."""
        return self.root / "logs"

    @property
    def processes(self) -> Path:
        """Return the directory that says which processes were started."""
        return self.root / "processes"

    @property
    def machine_settings(self) -> Path:
        """Return the file that says how kernel settings were before."""
        return self.root / "machine-settings.json"

    @property
    def containerd_socket(self) -> Path:
        """Return the socket of this cluster's own containerd."""
        return self.root / "containerd.sock"

    @property
    def cgroup(self) -> str:
        """Return the control group of this cluster's pods: what runs in it is ours to stop."""
        return f"/metricwatch-{hashlib.sha256(str(self.root).encode()).hexdigest()[:8]}"

    @property
    def volumes(self) -> Path:
        """Return the directory behind the persistent volumes."""
        return self.root / "volumes"

    def component_kubeconfig(self, component: str) -> Path:
        """Return the kubeconfig of one component."""
        return self.configuration / f"{component}.kubeconfig"

    def certificate(self, name: str) -> Path:
        """Return the certificate file of that name."""
        return self.pki / f"{name}.crt"

    def key(self, name: str) -> Path:
        """Return the private key file of that name."""
        return self.pki / f"{name}.key"
