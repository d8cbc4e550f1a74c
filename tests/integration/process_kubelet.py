"""A kubelet whose containers are processes of this machine: real trainers and detectors.

Pods are bound to a node, so that the API server ends them as it does on a cluster: asked to stop,
given their grace, and gone only when the kubelet has seen the end. Detectors are started again
when they end; trainers are not, and leave their exit code and their last words.
"""

from __future__ import annotations

import base64
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from tests.integration.control_plane import require_success
from tests.integration.free_ports import free_port
from tests.integration.operator_fixture import Namespace

NODE = "node-1"
_LOOK_SECONDS = 0.2
_PROGRAMS = {"detector": "metricwatch_detector", "trainer": "metricwatch_trainer"}
DISRUPTED = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC"}


@dataclass(slots=True)
class Container:
    """The one container of a pod."""

    pod: Mapping[str, Any]
    component: str
    directory: Path
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] = field(init=False)
    started_at: str = ""
    restarts: int = 0
    why: str = ""
    stop_at: float | None = None
    ended: dict[str, Any] | None = None
    reported: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Starts the program that the image would."""
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", _PROGRAMS[self.component]],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.started_at = _now()

    @property
    def name(self) -> str:
        """Of its pod."""
        return str(self.pod["metadata"]["name"])

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self.process.poll() is None

    def kill(self, *, why: str = "Error") -> None:
        """Ends it at once, as the kernel does when there is no memory left."""
        self.why = why
        self.process.kill()
        self.process.wait()

    def is_ready(self) -> bool:
        """Whether it says that it is ready; a trainer never has to."""
        if self.component == "trainer":
            return True
        port = int(self.environment["METRICWATCH_PORT"])
        connection = HTTPConnection("127.0.0.1", port, timeout=2)
        with contextlib.suppress(OSError, HTTPException), contextlib.closing(connection):
            connection.request("GET", "/readyz")
            return connection.getresponse().status == HTTPStatus.OK
        return False

    def resident_bytes(self) -> int:
        """How much memory it holds."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGESIZE")

    def running_status(self) -> dict[str, Any]:
        """What a kubelet says of it while it runs."""
        ready = self.is_alive and self.is_ready()
        condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": self.started_at}
        state = {"running": {"startedAt": self.started_at}}
        return {
            "phase": "Running",
            "conditions": [condition],
            "containerStatuses": [self._status(state, ready=ready)],
        }

    def ended_status(self) -> dict[str, Any]:
        """What a kubelet says of it when it has ended."""
        if self.ended is None:
            code, words = self.process.wait(), self.directory / "termination-log"
            self.ended = {
                "exitCode": 128 - code if code < 0 else code,
                "reason": "Completed" if code == 0 else self.why or "Error",
                "message": words.read_text() if words.exists() else "",
                "finishedAt": _now(),
            }
        phase = "Succeeded" if self.ended["exitCode"] == 0 else "Failed"
        status = self._status({"terminated": self.ended}, ready=False)
        return {"phase": phase, "containerStatuses": [status]}

    def _status(self, state: dict[str, Any], *, ready: bool) -> dict[str, Any]:
        (container,) = self.pod["spec"]["containers"]
        return {
            "name": container["name"],
            "image": container["image"],
            "imageID": "",
            "ready": ready,
            "restartCount": self.restarts,
            "state": state,
        }


class ProcessKubelet:
    """Runs the pods of a namespace as processes."""

    def __init__(self, namespace: Namespace, directory: Path) -> None:
        self.namespace = namespace
        self.directory = directory
        self._containers: dict[str, Container] = {}
        self._pods: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Looks after pods from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Ends everything."""
        self._stop.set()
        self._thread.join()
        for container in self._containers.values():
            container.kill()

    def alive(self, component: str) -> list[Container]:
        """The containers that run now, by name."""
        with self._lock:
            found = [
                one
                for one in self._containers.values()
                if one.component == component and one.is_alive
            ]
        return sorted(found, key=lambda one: one.name)

    def lose_node(self) -> None:
        """The node goes without a word: its processes end, and its pods are collected later."""
        with self._lock:
            lost = list(self._containers.values())
            for container in lost:
                container.kill()
            self._containers.clear()
            self._pods = []
            for container in lost:
                status = {"phase": "Failed", "conditions": [DISRUPTED]}
                self._patch_status(container.name, status)
                self._delete(container.name)

    def evict(self, container: Container) -> None:
        """The pod is asked to make room for another."""
        condition = {**DISRUPTED, "reason": "EvictionByEvictionAPI"}
        with self._lock:
            self._patch_status(container.name, {"conditions": [condition]})
            require_success(
                self.namespace.client.delete(self.namespace.path("Pod", container.name))
            )

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            with self._lock:
                # The API server may be away: what runs is looked after all the same.
                with contextlib.suppress(Exception):
                    self._pods = self.namespace.all("Pod")
                for pod in self._pods:
                    with contextlib.suppress(Exception):
                        self._look_at(pod)
                self._end_others({pod["metadata"]["uid"] for pod in self._pods})

    def _end_others(self, present: set[str]) -> None:
        for uid in set(self._containers) - present:
            self._containers.pop(uid).kill()

    def _look_at(self, pod: dict[str, Any]) -> None:
        container = self._containers.get(pod["metadata"]["uid"])
        if "deletionTimestamp" in pod["metadata"]:
            self._end(pod, container)
        elif container is None:
            if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed"):
                self._admit(pod)
        elif container.is_alive:
            self._report(container, container.running_status())
        elif container.component == "detector":
            container.restarts += 1
            container.start()
            self._report(container, container.running_status())
        else:
            self._report(container, container.ended_status())

    def _end(self, pod: dict[str, Any], container: Container | None) -> None:
        if container is not None and container.is_alive:
            if container.stop_at is None:
                container.process.send_signal(signal.SIGTERM)
                container.stop_at = time.monotonic() + 30
            if time.monotonic() < container.stop_at:
                return
            container.kill()
        if container is not None and container.component == "trainer":
            self._report(container, container.ended_status())
        self._delete(pod["metadata"]["name"])

    def _admit(self, pod: dict[str, Any]) -> None:
        metadata = pod["metadata"]
        if not pod["spec"].get("nodeName"):
            target = {"apiVersion": "v1", "kind": "Node", "name": NODE}
            body = {"metadata": {"name": metadata["name"]}, "target": target}
            path = f"{self.namespace.path('Pod', metadata['name'])}/binding"
            require_success(self.namespace.client.post(path, json=body))
        directory = self.directory / metadata["name"]
        directory.mkdir(exist_ok=True)
        self._containers[metadata["uid"]] = Container(
            pod=pod,
            component=metadata["labels"]["app.kubernetes.io/component"],
            directory=directory,
            environment=self._environment(pod, directory),
        )

    def _environment(self, pod: dict[str, Any], directory: Path) -> dict[str, str]:
        (container,) = pod["spec"]["containers"]
        secret = next(
            volume["secret"]["secretName"]
            for volume in pod["spec"]["volumes"]
            if volume["name"] == "database"
        )
        url = base64.b64decode(self.namespace.get("Secret", secret)["data"]["url"])
        (directory / "url").write_bytes(url)
        labels = pod["metadata"]["labels"]
        return {
            "PATH": os.environ["PATH"],
            **{one["name"]: one["value"] for one in container["env"] if one.get("value")},
            "JOB_COMPLETION_INDEX": labels.get("batch.kubernetes.io/job-completion-index", "0"),
            "METRICWATCH_DATABASE_URL_FILE": str(directory / "url"),
            "METRICWATCH_TERMINATION_LOG": str(directory / "termination-log"),
            "METRICWATCH_PORT": str(free_port()),
            "HOME": str(directory),
            "TMPDIR": str(directory),
        }

    def _report(self, container: Container, status: dict[str, Any]) -> None:
        if status != container.reported:
            self._patch_status(container.name, status)
            container.reported = status

    def _patch_status(self, name: str, status: dict[str, Any]) -> None:
        self.namespace.merge("Pod", name, {"status": status}, part="status")

    def _delete(self, name: str) -> None:
        path = self.namespace.path("Pod", name)
        answer = self.namespace.client.delete(path, params={"gracePeriodSeconds": "0"})
        if answer.status_code != HTTPStatus.NOT_FOUND:
            require_success(answer)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
