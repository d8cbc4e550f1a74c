"""The components of the local cluster, in the order they start, with the flags that matter."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from metricwatch_dev.cluster.layout import (
    API_SERVER_PORT,
    CONTROLLER_MANAGER_PORT,
    DNS_PORT,
    DNS_READY_PORT,
    ETCD_PEER_PORT,
    ETCD_PORT,
    KUBE_PROXY_HEALTH_PORT,
    KUBELET_HEALTH_PORT,
    KUBELET_PORT,
    NODE,
    NODE_ADDRESS,
    POD_NETWORK,
    REGISTRY_PORT,
    SCHEDULER_PORT,
    SERVICE_NETWORK,
    Layout,
)
from metricwatch_dev.cluster.probes import Probe, accepts_connections, http_ok, succeeds


@dataclass(frozen=True, slots=True)
class Component:
    """One process of the cluster."""

    name: str
    arguments: tuple[str, ...]
    probe: Probe
    # Addresses it listens on, checked before it is started.
    listens: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Programs:
    """What the components are started with."""

    tools: Path
    # The packet filter's extensions are not where the program would look for them.
    packet_filter_extensions: Path

    def environment(self) -> dict[str, str]:
        """Return the environment of every component: of the caller's, only the search path."""
        return {
            "PATH": f"{self.tools}:{os.environ.get('PATH', os.defpath)}",
            "HOME": os.environ.get("HOME", "/root"),
            "XTABLES_LIBDIR": str(self.packet_filter_extensions),
        }


def components(layout: Layout, programs: Programs) -> tuple[tuple[Component, ...], ...]:
    """Return all components in waves: each wave needs only that the waves before it answer."""
    return (
        (_registry(layout, programs), _etcd(layout, programs), _containerd(layout, programs)),
        (_api_server(layout, programs),),
        (
            _controller_manager(layout, programs),
            _scheduler(layout, programs),
            _kubelet(layout, programs),
            _kube_proxy(layout, programs),
            _coredns(layout, programs),
        ),
    )


def _component(
    name: str,
    programs: Programs,
    flags: Mapping[str, object],
    probe: Probe,
    *listens: tuple[str, int],
) -> Component:
    arguments = tuple(f"--{flag}={value}" for flag, value in flags.items())
    return Component(name, (str(programs.tools / name), *arguments), probe, listens)


def _registry(layout: Layout, programs: Programs) -> Component:
    return Component(
        "docker-registry",
        (
            str(programs.tools / "docker-registry"),
            "serve",
            str(layout.configuration / "registry.yml"),
        ),
        http_ok(NODE_ADDRESS, REGISTRY_PORT, "/v2/"),
        ((NODE_ADDRESS, REGISTRY_PORT),),
    )


def _etcd(layout: Layout, programs: Programs) -> Component:
    client, peer = f"http://127.0.0.1:{ETCD_PORT}", f"http://127.0.0.1:{ETCD_PEER_PORT}"
    flags = {
        "data-dir": layout.root / "etcd",
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"default={peer}",
        # The cluster is thrown away anyway: a lost write after a power cut is no loss.
        "unsafe-no-fsync": "true",
        "log-level": "warn",
    }
    return _component(
        "etcd",
        programs,
        flags,
        http_ok("127.0.0.1", ETCD_PORT, "/health"),
        ("127.0.0.1", ETCD_PORT),
        ("127.0.0.1", ETCD_PEER_PORT),
    )


def _api_server(layout: Layout, programs: Programs) -> Component:
    flags = {
        "etcd-servers": f"http://127.0.0.1:{ETCD_PORT}",
        # Not on every interface: nothing outside this machine needs it.
        "bind-address": NODE_ADDRESS,
        "advertise-address": NODE_ADDRESS,
        "secure-port": API_SERVER_PORT,
        "service-cluster-ip-range": SERVICE_NETWORK,
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "allow-privileged": "true",
        "client-ca-file": layout.certificate("ca"),
        "tls-cert-file": layout.certificate("kube-apiserver"),
        "tls-private-key-file": layout.key("kube-apiserver"),
        "kubelet-client-certificate": layout.certificate("kube-apiserver-kubelet-client"),
        "kubelet-client-key": layout.key("kube-apiserver-kubelet-client"),
        "kubelet-certificate-authority": layout.certificate("ca"),
        "kubelet-preferred-address-types": "InternalIP",
        "service-account-issuer": "https://kubernetes.default.svc.cluster.local",
        "service-account-key-file": layout.key("service-account"),
        "service-account-signing-key-file": layout.key("service-account"),
        "cert-dir": layout.pki,
    }
    ready = succeeds(
        programs.tools / "kubectl",
        "--kubeconfig",
        layout.kubeconfig,
        "get",
        "--raw",
        "/readyz",
        environment=programs.environment(),
    )
    return _component("kube-apiserver", programs, flags, ready, (NODE_ADDRESS, API_SERVER_PORT))


def _controller_manager(layout: Layout, programs: Programs) -> Component:
    flags = _control_loop_flags(layout, "kube-controller-manager", CONTROLLER_MANAGER_PORT) | {
        "use-service-account-credentials": "true",
        "service-account-private-key-file": layout.key("service-account"),
        "root-ca-file": layout.certificate("ca"),
        "cluster-signing-cert-file": layout.certificate("ca"),
        "cluster-signing-key-file": layout.key("ca"),
        "cluster-cidr": POD_NETWORK,
        # The bridge plugin hands out addresses.
        "allocate-node-cidrs": "false",
    }
    return _component(
        "kube-controller-manager",
        programs,
        flags,
        accepts_connections("127.0.0.1", CONTROLLER_MANAGER_PORT),
        ("127.0.0.1", CONTROLLER_MANAGER_PORT),
    )


def _scheduler(layout: Layout, programs: Programs) -> Component:
    return _component(
        "kube-scheduler",
        programs,
        _control_loop_flags(layout, "kube-scheduler", SCHEDULER_PORT),
        accepts_connections("127.0.0.1", SCHEDULER_PORT),
        ("127.0.0.1", SCHEDULER_PORT),
    )


def _control_loop_flags(layout: Layout, name: str, port: int) -> dict[str, object]:
    kubeconfig = layout.component_kubeconfig(name)
    return {
        "kubeconfig": kubeconfig,
        "authentication-kubeconfig": kubeconfig,
        "authorization-kubeconfig": kubeconfig,
        "bind-address": "127.0.0.1",
        "secure-port": port,
        "leader-elect": "false",
        "cert-dir": layout.pki / name,
    }


def _containerd(layout: Layout, programs: Programs) -> Component:
    answers = succeeds(
        programs.tools / "ctr",
        "--address",
        layout.containerd_socket,
        "version",
        environment=programs.environment(),
    )
    return Component(
        "containerd",
        (
            str(programs.tools / "containerd"),
            "--config",
            str(layout.configuration / "containerd.toml"),
        ),
        answers,
        (),
    )


def _kubelet(layout: Layout, programs: Programs) -> Component:
    flags = {
        "config": layout.configuration / "kubelet.json",
        "kubeconfig": layout.component_kubeconfig("kubelet"),
        "root-dir": layout.root / "kubelet",
        "cert-dir": layout.pki / "kubelet",
        "hostname-override": NODE,
        "node-ip": NODE_ADDRESS,
    }
    return _component(
        "kubelet",
        programs,
        flags,
        http_ok("127.0.0.1", KUBELET_HEALTH_PORT, "/healthz"),
        (NODE_ADDRESS, KUBELET_PORT),
        ("127.0.0.1", KUBELET_HEALTH_PORT),
    )


def _kube_proxy(layout: Layout, programs: Programs) -> Component:
    flags = {"config": layout.configuration / "kube-proxy.json"}
    return _component(
        "kube-proxy",
        programs,
        flags,
        http_ok("127.0.0.1", KUBE_PROXY_HEALTH_PORT, "/healthz"),
        ("127.0.0.1", KUBE_PROXY_HEALTH_PORT),
    )


def _coredns(layout: Layout, programs: Programs) -> Component:
    return Component(
        "coredns",
        (str(programs.tools / "coredns"), "-conf", str(layout.configuration / "Corefile")),
        http_ok("127.0.0.1", DNS_READY_PORT, "/ready"),
        ((NODE_ADDRESS, DNS_PORT), ("127.0.0.1", DNS_READY_PORT)),
    )
