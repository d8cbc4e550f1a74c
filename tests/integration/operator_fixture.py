"""A cluster for tests of the operator: real but for a kubelet that pretends.

The operator runs as the process that ships, with a service-account token bound to exactly the
rules that docs/rbac.md grants. Only the kubelet is made up: it reports pods as started, and does
the trainer's part in the database, so that every way a Job can end can be brought about.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import httpx
import pytest
import yaml
from tests.integration.control_plane import ControlPlane, require_success, run_control_plane
from tests.integration.free_ports import free_port
from tests.integration.postgres_fixture import run_apart
from tests.integration.store_rows import make_artifact, make_result

from metricwatch.store.connection import prepare
from metricwatch.store.errors import TransitionRefused
from metricwatch.store.models import record_training
from metricwatch.verdict import Outcome, Verdict

Found = TypeVar("Found")
WAIT_SECONDS = 180.0
RESYNC_SECONDS = 2
SYSTEM = "metricwatch-system"
_PATHS = {
    "AnomalyModel": "/apis/metricwatch.io/v1alpha1/namespaces/{}/anomalymodels",
    "MetricWatch": "/apis/metricwatch.io/v1alpha1/namespaces/{}/metricwatches",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "Pod": "/api/v1/namespaces/{}/pods",
    "Secret": "/api/v1/namespaces/{}/secrets",
    "Event": "/apis/events.k8s.io/v1/namespaces/{}/events",
    "Lease": "/apis/coordination.k8s.io/v1/namespaces/{}/leases",
}
_IMAGES = {
    "METRICWATCH_TRAINER_IMAGE": "registry.example/trainer:1",
    "METRICWATCH_DETECTOR_IMAGE": "registry.example/detector:1",
}


def documented_rules() -> list[list[dict[str, Any]]]:
    """The rules of docs/rbac.md: those of watched namespaces, and those of the operator's own."""
    text = (Path(__file__).parents[2] / "docs/rbac.md").read_text(encoding="utf-8")
    return [
        yaml.safe_load(block)["rules"] for block in re.findall(r"```yaml\n(.*?)```", text, re.S)
    ]


@dataclass(slots=True)
class Namespace:
    """A namespace of the test cluster, as its administrator sees it."""

    plane: ControlPlane
    name: str
    client: httpx.Client

    def path(self, kind: str, name: str = "") -> str:
        return _PATHS[kind].format(self.name) + (f"/{name}" if name else "")

    def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        body = {**manifest, "metadata": {"namespace": self.name, **manifest["metadata"]}}
        return dict(require_success(self.client.post(self.path(body["kind"]), json=body)).json())

    def find(self, kind: str, name: str) -> dict[str, Any] | None:
        answer = self.client.get(self.path(kind, name))
        return None if answer.status_code == 404 else dict(require_success(answer).json())

    def get(self, kind: str, name: str) -> dict[str, Any]:
        return dict(require_success(self.client.get(self.path(kind, name))).json())

    def all(self, kind: str) -> list[dict[str, Any]]:
        return list(require_success(self.client.get(self.path(kind))).json()["items"])

    def names(self, kind: str) -> list[str]:
        return sorted(one["metadata"]["name"] for one in self.all(kind))

    def merge(self, kind: str, name: str, patch: dict[str, Any], *, part: str = "") -> None:
        path = self.path(kind, name) + (f"/{part}" if part else "")
        headers = {"Content-Type": "application/merge-patch+json"}
        require_success(self.client.patch(path, json=patch, headers=headers))

    def delete(self, kind: str, name: str) -> None:
        require_success(self.client.delete(self.path(kind, name)))

    def conditions(self, kind: str, name: str) -> dict[str, dict[str, Any]]:
        status = self.get(kind, name).get("status") or {}
        return {one["type"]: one for one in status.get("conditions") or ()}

    def wait_for_condition(
        self, kind: str, name: str, type_: str, status: str, *, reason: str | None = None
    ) -> dict[str, Any]:
        def holds() -> dict[str, Any] | None:
            one = self.conditions(kind, name).get(type_, {})
            matches = one.get("status") == status and reason in (None, one.get("reason"))
            return one if matches else None

        return wait_for(holds, lambda: f"{kind} {name}: {self.conditions(kind, name)}")

    def events(self) -> list[tuple[str, str]]:
        return [(one["reason"], one.get("note", "")) for one in self.all("Event")]


def wait_for(look: Callable[[], Found | None], describe: Callable[[], str] = lambda: "") -> Found:
    """What `look` gives as soon as it gives something."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"did not come about in {WAIT_SECONDS} s: {describe()}")
        time.sleep(0.05)


@dataclass(slots=True)
class TrainerEnd:
    """How the next trainer pods end."""

    code: int = 0
    reason: str = "Trained"
    message: str = ""
    retry_after: float | None = None

    def verdict(self, version: int) -> str:
        outcome = Outcome.SUCCESSFUL if self.code == 0 else Outcome.FAILED
        return (
            Verdict(
                outcome=outcome,
                reason=self.reason,
                message=self.message,
                version=version,
                retry_after_seconds=self.retry_after,
            )
            .encode()
            .decode()
        )


@dataclass(slots=True)
class Kubelet:
    """Starts every pod of a namespace, and ends trainers the way the test wants.

    Attributes:
        trainer: How trainer pods end; None lets them run on.
        slices: How the pods of single slices end instead, by their index.
        detectors_start: Whether detector pods become Ready.
        report: What trainers report.
    """

    namespace: Namespace
    database_url: str
    trainer: TrainerEnd | None = field(default_factory=TrainerEnd)
    slices: dict[int, TrainerEnd] = field(default_factory=dict)
    detectors_start: bool = True
    report: dict[str, Any] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _done: set[str] = field(default_factory=set)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            # The API server may be stopped, and pods may go while they are looked at.
            with contextlib.suppress(Exception):
                for pod in self.namespace.all("Pod"):
                    self._look_at(pod)

    def _look_at(self, pod: dict[str, Any]) -> None:
        metadata = pod["metadata"]
        if metadata["uid"] in self._done or "deletionTimestamp" in metadata:
            return
        component = metadata["labels"]["app.kubernetes.io/component"]
        if component == "detector" and self.detectors_start:
            self._report(pod, _running(pod))
        elif component == "trainer" and self.trainer is not None:
            index = int(metadata["labels"].get("batch.kubernetes.io/job-completion-index", 0))
            end = dataclasses.replace(self.slices.get(index, self.trainer))
            if end.code == 0 and "-search-" not in metadata["name"]:
                run_apart(self._store_result(pod))
            version = int(metadata["labels"]["metricwatch.io/version"])
            self._report(pod, _ended(pod, end, end.verdict(version)))

    def _report(self, pod: dict[str, Any], status: dict[str, Any]) -> None:
        name = pod["metadata"]["name"]
        self.namespace.merge("Pod", name, {"status": status}, part="status")
        self._done.add(pod["metadata"]["uid"])

    async def _store_result(self, pod: dict[str, Any]) -> None:
        (container,) = pod["spec"]["containers"]
        env = {one["name"]: one.get("value", "") for one in container["env"]}
        connection = await asyncpg.connect(self.database_url)
        try:
            await prepare(connection)
            row = await connection.fetchval(
                "SELECT m.id FROM models m JOIN models_info i ON i.id = m.model_id "
                "WHERE i.uid = $1 AND m.version = $2",
                env["METRICWATCH_MODEL_UID"],
                int(env["METRICWATCH_VERSION"]),
            )
            with contextlib.suppress(TransitionRefused):
                await record_training(
                    connection,
                    version_id=row,
                    result=make_result(**self.report),
                    artifacts=[make_artifact()],
                )
        finally:
            await connection.close()


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _running(pod: dict[str, Any]) -> dict[str, Any]:
    (container,) = pod["spec"]["containers"]
    return {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": _now()}],
        "containerStatuses": [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": "",
                "ready": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": _now()}},
            }
        ],
    }


def _ended(pod: dict[str, Any], end: TrainerEnd, verdict: str) -> dict[str, Any]:
    (container,) = pod["spec"]["containers"]
    terminated = {"exitCode": end.code, "message": verdict, "finishedAt": _now()}
    return {
        "phase": "Succeeded" if end.code == 0 else "Failed",
        "containerStatuses": [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": "",
                "ready": False,
                "restartCount": 0,
                "state": {"terminated": terminated},
            }
        ],
    }


@dataclass(slots=True)
class OperatorProcess:
    """The operator as it ships."""

    environment: dict[str, str]
    log: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> OperatorProcess:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-X", "faulthandler", "-m", "metricwatch_operator"],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(WAIT_SECONDS)

    def resident_bytes(self) -> int:
        """How much memory it holds."""
        assert self.process is not None
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGESIZE")

    def wait_until_watching(self) -> None:
        wait_for(lambda: self.metric("metricwatch_leader") == 1.0 and self.is_ready(), self.tail)

    def is_ready(self) -> bool:
        return self._get("/readyz").startswith("ok")

    def metric(self, name: str) -> float | None:
        """A sample by its name and labels, as the exposition format writes them."""
        for line in self.metrics().splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[-1])
        return None

    def metrics(self) -> str:
        """Everything that it exposes."""
        return self._get("/metrics")

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])

    def _get(self, path: str) -> str:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}{path}", trust_env=False).text
        except httpx.TransportError:
            return ""


@dataclass(slots=True)
class Stage:
    """Everything a test of the operator plays with."""

    plane: ControlPlane
    namespace: Namespace
    kubelet: Kubelet
    database_url: str
    directory: Path
    kubeconfig: Path
    operators: list[OperatorProcess] = field(default_factory=list)

    def operator(self, **environment: str) -> OperatorProcess:
        """A new replica, not started yet."""
        port = free_port()
        number = len(self.operators)
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        operator = OperatorProcess(
            environment={
                **inherited,
                **_IMAGES,
                "KUBECONFIG": str(self.kubeconfig),
                "METRICWATCH_DATABASE_URL": self.database_url,
                "METRICWATCH_NAMESPACES": self.namespace.name,
                "METRICWATCH_POD_NAMESPACE": SYSTEM,
                "METRICWATCH_POD_NAME": f"operator-{number}",
                "METRICWATCH_PORT": str(port),
                "METRICWATCH_SETTLE_SECONDS": "0.2",
                "METRICWATCH_WATCHES_SETTLE_SECONDS": "0.5",
                "METRICWATCH_RESYNC_SECONDS": str(RESYNC_SECONDS),
                **environment,
            },
            log=self.directory / f"operator-{number}.log",
            port=port,
        )
        self.operators.append(operator)
        return operator

    def operator_with_own_token(self) -> tuple[OperatorProcess, str]:
        """A new replica, not started yet, and the id of its token in the audit log."""
        directory = self.directory / f"token-{len(self.operators)}"
        directory.mkdir()
        path = _write_kubeconfig(self.plane, self.namespace.client, directory)
        token = yaml.safe_load(path.read_text())["users"][0]["user"]["token"]
        claims = token.split(".")[1]
        known = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        return self.operator(KUBECONFIG=str(path)), known["jti"]

    def add_model(self, name: str = "checkout", **spec: Any) -> dict[str, Any]:
        body = {"source": {"url": "http://victoriametrics.example:8428"}, **spec}
        return self.namespace.create(
            {
                "apiVersion": "metricwatch.io/v1alpha1",
                "kind": "AnomalyModel",
                "metadata": {"name": name},
                "spec": body,
            }
        )

    def add_watch(
        self, name: str = "latency", *, model: str = "checkout", **spec: Any
    ) -> dict[str, Any]:
        return self.namespace.create(
            {
                "apiVersion": "metricwatch.io/v1alpha1",
                "kind": "MetricWatch",
                "metadata": {"name": name},
                "spec": {"modelRef": {"name": model}, "query": "up", **spec},
            }
        )

    def wait_for_serving(self, version: int, model: str = "checkout") -> None:
        wait_for(
            lambda: (
                (self.namespace.get("AnomalyModel", model).get("status") or {}).get(
                    "servingVersion"
                )
                == version
            ),
            self.describe,
        )

    def describe(self) -> str:
        tails = "\n".join(operator.tail() for operator in self.operators)
        models = [one.get("status") for one in self.namespace.all("AnomalyModel")]
        children = {kind: self.namespace.names(kind) for kind in ("Job", "Deployment", "Pod")}
        return f"{models}\n{children}\n{tails}"

    async def rows(self, query: str, *arguments: Any) -> list[dict[str, Any]]:
        """Rows of the test's database."""
        connection = await asyncpg.connect(self.database_url)
        try:
            return [dict(row) for row in await connection.fetch(query, *arguments)]
        finally:
            await connection.close()


@pytest.fixture(scope="session")
def operator_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane with controllers, both CRDs, and the operator's service account."""
    directory = tmp_path_factory.mktemp("operator-plane")
    with run_control_plane(
        directory, controller_manager=True, apiserver_arguments=_audit(directory)
    ) as plane:
        plane.install_crds()
        client = plane.client()
        make_namespace(client, SYSTEM)
        watched, own = documented_rules()
        _grant(client, "metricwatch-watched", watched, namespace=None)
        _grant(client, "metricwatch-own", own, namespace=SYSTEM)
        yield plane


def _audit(directory: Path) -> list[str]:
    """Lets the API server write down what the operator changes."""
    operator = f"system:serviceaccount:{SYSTEM}:operator"
    verbs = ["create", "update", "patch", "delete"]
    rules = [{"level": "Metadata", "users": [operator], "verbs": verbs}, {"level": "None"}]
    policy = {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": rules,
    }
    path = directory / "audit-policy.yaml"
    path.write_text(yaml.safe_dump(policy))
    return [f"--audit-policy-file={path}", f"--audit-log-path={directory / 'audit.log'}"]


@pytest.fixture
def stage(operator_plane: ControlPlane, database_url: str, tmp_path: Path) -> Iterator[Stage]:
    """A namespace of its own under the restricted Pod Security Standard, and a kubelet in it."""
    client = operator_plane.client()
    name = f"shop-{time.monotonic_ns()}"
    make_namespace(client, name)
    # A Lease of the test before would have to expire first.
    lease = f"{_PATHS['Lease'].format(SYSTEM)}/metricwatch-operator"
    client.delete(lease)
    namespace = Namespace(operator_plane, name, client)
    kubelet = Kubelet(namespace, database_url)
    kubelet.start()
    made = Stage(
        plane=operator_plane,
        namespace=namespace,
        kubelet=kubelet,
        database_url=database_url,
        directory=tmp_path,
        kubeconfig=_write_kubeconfig(operator_plane, client, tmp_path),
    )
    try:
        yield made
    finally:
        for operator in made.operators:
            if operator.process is not None and operator.process.poll() is None:
                operator.process.kill()
                operator.process.wait()
        kubelet.stop()


def make_namespace(client: httpx.Client, name: str) -> None:
    """Makes a namespace under the restricted Pod Security Standard."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    require_success(client.post("/api/v1/namespaces", json=body))


def _grant(
    client: httpx.Client, name: str, rules: list[dict[str, Any]], *, namespace: str | None
) -> None:
    group = "/apis/rbac.authorization.k8s.io/v1"
    scope = f"/namespaces/{namespace}" if namespace else "/"
    kind = "Role" if namespace else "ClusterRole"
    place = f"{group}{scope}".rstrip("/")
    role = {"kind": kind, "metadata": {"name": name}, "rules": rules}
    require_success(client.post(f"{place}/{kind.lower()}s", json=role))
    account = {"kind": "ServiceAccount", "name": "operator", "namespace": SYSTEM}
    binding = {
        "kind": f"{kind}Binding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
        "subjects": [account],
    }
    require_success(client.post(f"{place}/{kind.lower()}bindings", json=binding))


def _write_kubeconfig(plane: ControlPlane, client: httpx.Client, directory: Path) -> Path:
    accounts = f"/api/v1/namespaces/{SYSTEM}/serviceaccounts"
    made = client.post(accounts, json={"metadata": {"name": "operator"}})
    if made.status_code != 409:
        require_success(made)
    request = {"spec": {"expirationSeconds": 3600}}
    token = require_success(client.post(f"{accounts}/operator/token", json=request)).json()
    config = yaml.safe_load(plane.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token["status"]["token"]}
    path = directory / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    path.chmod(0o600)
    return path
