"""A real control plane for tests: etcd, kube-apiserver and, on request, kube-controller-manager.

Everything listens on free ports of 127.0.0.1 and keeps its files in one directory, so any number
of them run side by side. Processes die with the test run, also when it is killed. There is no
kubelet: a test that needs a Pod to run patches its status.
"""

import csv
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

START_SECONDS = 240.0
CONTROLLERS = (
    "deployment-controller,replicaset-controller,job-controller,cronjob-controller,"
    "garbage-collector-controller,ttl-after-finished-controller,namespace-controller"
)


class ControlPlaneError(Exception):
    """A part is missing, or did not start."""


@dataclass(slots=True)
class Process:
    """A program that runs with its output in a log file."""

    arguments: Sequence[str]
    log: Path
    running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; the kernel kills it when this process dies."""
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def stop(self) -> None:
        """End it, kindly first."""
        if self.running is None:
            return
        self.running.terminate()
        try:
            self.running.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.running.kill()
            self.running.wait()
        self.running = None

    def check(self) -> None:
        """Raise with the end of the log when it has ended."""
        if self.running is None or self.running.poll() is not None:
            tail = self.log.read_text(errors="replace").splitlines()[-15:]
            raise ControlPlaneError("\n".join([f"{self.arguments[0]} ended:", *tail]))


@dataclass(slots=True)
class ControlPlane:
    """A running control plane, and how to reach it as its administrator."""

    url: str
    token: str
    directory: Path
    etcd: Process
    apiserver: Process
    controller_manager: Process | None = None
    _clients: list[httpx.Client] = field(default_factory=list)

    @property
    def ca_file(self) -> Path:
        """Certificates that the API server's own is checked against."""
        return self.directory / "certificates" / "apiserver.crt"

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig of the administrator."""
        return self.directory / "kubeconfig"

    @property
    def kubectl(self) -> list[str]:
        """The start of a kubectl command line."""
        return [str(binary("kubectl")), "--kubeconfig", str(self.kubeconfig)]

    def client(self, **options: Any) -> httpx.Client:
        """An HTTP client with the administrator's rights; closed with the control plane."""
        client = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {self.token}"},
            verify=ssl.create_default_context(cafile=self.ca_file),
            timeout=30,
            trust_env=False,
            **options,
        )
        self._clients.append(client)
        return client

    def close_clients(self) -> None:
        """Close what `client` handed out."""
        for client in self._clients:
            client.close()

    def start_apiserver(self) -> None:
        """Start the API server and wait until it is ready."""
        self.apiserver.start()
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            self.apiserver.check()
            if self.ca_file.exists() and self._is_ready():
                return
            time.sleep(0.2)
        raise ControlPlaneError(f"kube-apiserver is not ready after {START_SECONDS} seconds")

    def stop_apiserver(self) -> None:
        """Stop the API server; etcd keeps what it holds."""
        self.apiserver.stop()

    def restart(self) -> None:
        """Stop the API server and start it again, at the same address with the same state."""
        self.stop_apiserver()
        self.start_apiserver()

    def _is_ready(self) -> bool:
        try:
            with httpx.Client(
                verify=ssl.create_default_context(cafile=self.ca_file), trust_env=False
            ) as client:
                headers = {"Authorization": f"Bearer {self.token}"}
                return client.get(f"{self.url}/readyz", headers=headers).status_code == 200
        except (httpx.TransportError, ssl.SSLError, OSError):
            return False

    def install_crds(self, folder: Path = Path(__file__).parents[2] / "crds") -> None:
        """Create the CRDs of a folder and wait until their resources are served."""
        definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        client = self.client()
        for file in sorted(folder.glob("*.yaml")):
            crd = yaml.safe_load(file.read_text())
            response = client.post(definitions, json=crd)
            if response.status_code != 409:
                require_success(response)
            self._wait_established(client, f"{definitions}/{crd['metadata']['name']}")

    def _wait_established(self, client: httpx.Client, path: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            conditions = client.get(path).json()["status"].get("conditions") or []
            if any(c["type"] == "Established" and c["status"] == "True" for c in conditions):
                return
            time.sleep(0.1)
        raise ControlPlaneError(f"{path} is not served: {conditions}")


def require_success(response: httpx.Response) -> httpx.Response:
    """The response, or an error with what the API server said."""
    if response.is_error:
        raise ControlPlaneError(f"{response.status_code}: {response.text}")
    return response


def binary(name: str) -> Path:
    """A program of the control plane, from KUBEBUILDER_ASSETS or the cache."""
    cache = Path(os.environ.get("METRICWATCH_CACHE", "~/.cache/metricwatch")).expanduser()
    folder = Path(os.environ.get("KUBEBUILDER_ASSETS", cache / "envtest"))
    if not (folder / name).exists():
        raise ControlPlaneError(
            f"{folder / name} is missing: run `python -m metricwatch_dev binaries --only envtest`"
        )
    return folder / name


@contextmanager
def run_control_plane(
    directory: Path,
    *,
    controller_manager: bool = False,
    apiserver_arguments: Sequence[str] = (),
) -> Iterator[ControlPlane]:
    """A control plane with its files in `directory`; the logs stay there."""
    etcd_url, peer_url, port = _free_url(), _free_url(), _free_port()
    token = secrets.token_urlsafe(24)
    _write_service_account_keys(directory)
    with (directory / "tokens.csv").open("w", newline="") as file:
        csv.writer(file).writerow([token, "admin", "admin", "system:masters"])
    plane = ControlPlane(
        url=f"https://127.0.0.1:{port}",
        token=token,
        directory=directory,
        etcd=_etcd(directory, etcd_url, peer_url),
        apiserver=_apiserver(directory, etcd_url, port, apiserver_arguments),
    )
    _write_kubeconfig(plane)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, directory / "etcd", ignore_errors=True)
        stack.callback(plane.etcd.stop)
        plane.etcd.start()
        stack.callback(plane.apiserver.stop)
        plane.start_apiserver()
        if controller_manager:
            plane.controller_manager = _controller_manager(plane)
            stack.callback(plane.controller_manager.stop)
            plane.controller_manager.start()
        stack.callback(plane.close_clients)
        yield plane


def _etcd(directory: Path, url: str, peer_url: str) -> Process:
    return Process(
        [
            str(binary("etcd")),
            f"--data-dir={directory / 'etcd'}",
            f"--listen-client-urls={url}",
            f"--advertise-client-urls={url}",
            f"--listen-peer-urls={peer_url}",
            f"--initial-advertise-peer-urls={peer_url}",
            f"--initial-cluster=default={peer_url}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ],
        directory / "etcd.log",
    )


def _apiserver(directory: Path, etcd_url: str, port: int, more: Sequence[str]) -> Process:
    return Process(
        [
            str(binary("kube-apiserver")),
            f"--etcd-servers={etcd_url}",
            f"--secure-port={port}",
            "--bind-address=127.0.0.1",
            f"--cert-dir={directory / 'certificates'}",
            f"--token-auth-file={directory / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={directory / 'service-account.pub'}",
            f"--service-account-signing-key-file={directory / 'service-account.key'}",
            # Pods could not be created otherwise: nobody makes service accounts here.
            "--disable-admission-plugins=ServiceAccount",
            "--service-cluster-ip-range=10.96.0.0/16",
            *more,
        ],
        directory / "kube-apiserver.log",
    )


def _controller_manager(plane: ControlPlane) -> Process:
    return Process(
        [
            str(binary("kube-controller-manager")),
            f"--kubeconfig={plane.kubeconfig}",
            f"--controllers={CONTROLLERS}",
            "--leader-elect=false",
            "--secure-port=0",
        ],
        plane.directory / "kube-controller-manager.log",
    )


def _write_kubeconfig(plane: ControlPlane) -> None:
    cluster = {"server": plane.url, "certificate-authority": str(plane.ca_file)}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "admin", "user": {"token": plane.token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
        "current-context": "test",
    }
    plane.kubeconfig.write_text(yaml.safe_dump(config))
    plane.kubeconfig.chmod(0o600)


def _write_service_account_keys(directory: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    (directory / "service-account.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    (directory / "service-account.pub").write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _free_url() -> str:
    return f"http://127.0.0.1:{_free_port()}"
