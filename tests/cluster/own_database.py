"""A PostgreSQL of the user's own on the cluster: by password without TLS, or by certificate."""

from typing import Any

from tests.integration.certificates import Authority

from metricwatch_dev.demo.installing import CHART
from metricwatch_dev.demo.kubectl import Kubectl, Manifest

USER = DATABASE = "metricwatch"
PASSWORD = "a-password-of-tests"
PLAIN, CERTIFIED = "database-plain", "database-certified"
AUTHORITY, CLIENT = "database-authority", "database-client"
# Whoever speaks TLS has to show a certificate of the user's name; a password is of no use there.
RULES = "local all all trust\nhostssl all all all cert\nhostnossl all all all scram-sha-256\n"
_PSQL = ("psql", "-h", "/tmp", "-U", USER, "-d", DATABASE, "-At", "-c")
_SUPER = ("psql", "-h", "/tmp", "-U", "postgres", "-At", "-c")
_DIRECTORY = "/etc/postgresql"


def install(kubectl: Kubectl, namespace: str, *, image: str) -> None:
    """Starts it, with the Secrets that a user would make for the chart, and waits for it."""
    host = f"postgresql.{namespace}.svc"
    authority = Authority()
    server, client = authority.issue("server", host), authority.issue(USER)
    address = f"{host}:5432/{DATABASE}"
    ca = authority.certificate.decode()
    secrets = {
        "postgresql": {
            "password": PASSWORD,
            "ca.crt": ca,
            "tls.crt": server.certificate.decode(),
            "tls.key": server.key.decode(),
            "pg_hba.conf": RULES,
            "postgresql.sh": (CHART / "files" / "postgresql.sh").read_text(),
        },
        PLAIN: {"url": f"postgresql://{USER}:{PASSWORD}@{address}?sslmode=disable"},
        CERTIFIED: {"url": f"postgresql://{USER}@{address}"},
        AUTHORITY: {"ca.crt": ca},
        CLIENT: {"tls.crt": client.certificate.decode(), "tls.key": client.key.decode()},
    }
    kubectl.apply(
        [
            *(_secret(name, content) for name, content in secrets.items()),
            _service(),
            _deployment(image),
        ],
        namespace=namespace,
    )
    rollout = ("rollout", "status", "deployment/postgresql", "--timeout=5m")
    kubectl.run(*rollout, "--namespace", namespace)


def ask(kubectl: Kubectl, namespace: str, query: str) -> list[str]:
    """Returns what psql prints for a query, line by line."""
    return _exec(kubectl, namespace, *_PSQL, query)


def command(kubectl: Kubectl, namespace: str, statement: str) -> list[str]:
    """Runs a statement as the superuser."""
    return _exec(kubectl, namespace, *_SUPER, statement)


def _exec(kubectl: Kubectl, namespace: str, *arguments: str) -> list[str]:
    where = ("exec", "-n", namespace, "deployment/postgresql", "--")
    return kubectl.run(*where, *arguments).splitlines()


def _secret(name: str, content: dict[str, str]) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "stringData": content,
    }


def _service() -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "postgresql"},
        "spec": {"selector": {"app": "postgresql"}, "ports": [{"port": 5432}]},
    }


def _deployment(image: str) -> Manifest:
    labels = {"app": "postgresql"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "postgresql"},
        "spec": {
            "selector": {"matchLabels": labels},
            "strategy": {"type": "Recreate"},
            "template": {"metadata": {"labels": labels}, "spec": _pod(image)},
        },
    }


def _pod(image: str) -> dict[str, Any]:
    script = ["/bin/sh", f"{_DIRECTORY}/postgresql.sh"]
    settings = {
        "ssl": "on",
        "ssl_cert_file": f"{_DIRECTORY}/tls.crt",
        "ssl_key_file": f"{_DIRECTORY}/tls.key",
        "ssl_ca_file": f"{_DIRECTORY}/ca.crt",
        "hba_file": f"{_DIRECTORY}/pg_hba.conf",
        "shared_buffers": "32MB",
    }
    user = 65532
    return {
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": user,
            "runAsGroup": user,
            "fsGroup": user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "postgresql",
                "image": image,
                "command": [*script, "run"],
                "args": [
                    part for name, value in settings.items() for part in ("-c", f"{name}={value}")
                ],
                "env": [
                    {"name": "PGDATA", "value": "/data/pgdata"},
                    {"name": "PASSWORD_FILE", "value": f"{_DIRECTORY}/password"},
                    {"name": "LC_ALL", "value": "C.UTF-8"},
                ],
                "readinessProbe": {
                    "exec": {"command": [*script, "ready"]},
                    "periodSeconds": 2,
                    "timeoutSeconds": 5,
                },
                "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [
                    {"name": "data", "mountPath": "/data"},
                    {"name": "tmp", "mountPath": "/tmp"},
                    {"name": "files", "mountPath": _DIRECTORY, "readOnly": True},
                ],
            }
        ],
        "volumes": [
            {"name": "data", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "files", "secret": {"secretName": "postgresql", "defaultMode": 0o440}},
        ],
    }
