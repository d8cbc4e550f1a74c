"""The cluster as kubectl sees it, and services in it through the API server's proxy.

The proxy works on every cluster, near or far, without a port-forward that could break.
"""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Manifest = dict[str, Any]


class CommandFailedError(Exception):
    """kubectl or helm refused; the text is what it said."""


@dataclass(frozen=True, slots=True)
class Service:
    """A port of a Service, spoken to through the API server."""

    namespace: str
    name: str
    port: int

    def path(self, path: str) -> str:
        """Return the API path that leads to a path of this service."""
        target = f"{self.name}:{self.port}/proxy/{path.lstrip('/')}"
        return f"/api/v1/namespaces/{self.namespace}/services/{target}"


@dataclass(frozen=True, slots=True)
class Kubectl:
    """Runs kubectl and helm in the environment of one cluster."""

    environment: Mapping[str, str]

    def run(self, *arguments: str, text: str | None = None) -> str:
        """Return what kubectl prints.

        Raises:
            CommandFailedError: It failed.
        """
        return self._run("kubectl", *arguments, text=text)

    def helm(self, *arguments: str, values: Manifest | None = None) -> str:
        """Return what helm prints; `values` go in as a file.

        Raises:
            CommandFailedError: It failed.
        """
        if values is None:
            return self._run("helm", *arguments)
        # JSON is YAML.
        return self._run("helm", *arguments, "--values", "-", text=json.dumps(values))

    def apply(
        self,
        manifests: str | list[Manifest],
        *,
        namespace: str | None = None,
        server_side: bool = True,
    ) -> str:
        """Apply manifests.

        Server-side, because large ConfigMaps do not fit into an annotation; otherwise for what the
        user goes on with by a plain `kubectl apply`, which warns about objects it did not make.
        """
        text = (
            manifests
            if isinstance(manifests, str)
            else json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
        )
        where = () if namespace is None else ("--namespace", namespace)
        managed = ("--server-side", "--force-conflicts", "--field-manager=metricwatch-demo")
        options = managed if server_side else ()
        return self.run("apply", *options, *where, "-f", "-", text=text)

    def get(self, *arguments: str) -> Any:
        """Return an object or list as JSON."""
        return json.loads(self.run("get", *arguments, "-o", "json"))

    def call(self, service: Service, path: str = "/") -> Any:
        """GET a path of a service and return the JSON it answers."""
        return json.loads(self.run("get", "--raw", service.path(path)))

    def post(self, service: Service, path: str, body: Any) -> Any:
        """POST JSON to a service and return the JSON it answers."""
        path = service.path(path)
        return json.loads(self.run("create", "--raw", path, "-f", "-", text=json.dumps(body)))

    def delete(self, service: Service, path: str) -> None:
        """DELETE a path of a service."""
        self.run("delete", "--raw", service.path(path))

    def _run(self, program: str, *arguments: str, text: str | None = None) -> str:
        done = subprocess.run(
            [program, *arguments],
            input=text,
            capture_output=True,
            text=True,
            check=False,
            env=dict(self.environment),
        )
        if done.returncode != 0:
            said = done.stderr.strip() or done.stdout.strip() or "it said nothing"
            raise CommandFailedError(f"{program} {arguments[0]}: {said}")
        return done.stdout
