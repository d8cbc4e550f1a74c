"""The pod template that trainer and detector share.

Both run under the restricted Pod Security Standard, without a service-account token: their work
comes as rows and mounted Secrets. Secrets of sources are mounted as optional, so a missing one is
reported by whoever misses it instead of leaving a pod in ContainerCreating.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from metricwatch.sources.allowed import VARIABLE as ALLOWED_HOSTS_VARIABLE
from metricwatch_operator.planning.config import Config
from metricwatch_operator.planning.names import database_secret_name, source_volume_name

DATABASE_DIRECTORY = "/var/run/metricwatch/database"
SOURCES_DIRECTORY = "/var/run/metricwatch/sources"
DATABASE_KEY = "url"
_USER = 65532


@dataclass(frozen=True, slots=True)
class ContainerWants:
    """What differs between the two kinds of pods."""

    name: str
    image: str
    env: Mapping[str, str]
    resources: Mapping[str, Any]
    extra: Mapping[str, Any]


def build_pod_spec(
    model: str, wants: ContainerWants, *, source_secrets: Iterable[str], config: Config
) -> dict[str, Any]:
    """A pod spec with one container; `restartPolicy` and grace period are the caller's."""
    secrets = sorted(set(source_secrets))
    placement = config.placement
    spec: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_build_container(wants, secrets=secrets, config=config)],
        "volumes": _build_volumes(model, secrets=secrets, config=config),
    }
    if placement.node_selector:
        spec["nodeSelector"] = dict(placement.node_selector)
    if placement.tolerations:
        spec["tolerations"] = [dict(toleration) for toleration in placement.tolerations]
    if placement.priority_class_name:
        spec["priorityClassName"] = placement.priority_class_name
    if placement.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in placement.image_pull_secrets]
    return spec


def _build_container(
    wants: ContainerWants, *, secrets: list[str], config: Config
) -> dict[str, Any]:
    env = {
        "METRICWATCH_DATABASE_URL_FILE": f"{DATABASE_DIRECTORY}/{DATABASE_KEY}",
        "METRICWATCH_LOG_LEVEL": config.log_level,
        # The root file system is read-only; torch and matplotlib write below these.
        "HOME": "/tmp",  # noqa: S108 - inside the container
        "TMPDIR": "/tmp",  # noqa: S108
        "TORCHINDUCTOR_CACHE_DIR": "/tmp/torchinductor",  # noqa: S108
        "MPLCONFIGDIR": "/tmp/matplotlib",  # noqa: S108
        **wants.env,
    }
    if config.allowed_source_hosts:
        env[ALLOWED_HOSTS_VARIABLE] = ",".join(config.allowed_source_hosts)
    mounts = [
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
        {"name": "database", "mountPath": DATABASE_DIRECTORY, "readOnly": True},
        *(
            {
                "name": source_volume_name(secret),
                "mountPath": f"{SOURCES_DIRECTORY}/{secret}",
                "readOnly": True,
            }
            for secret in secrets
        ),
    ]
    return {
        "name": wants.name,
        "image": wants.image,
        "imagePullPolicy": config.placement.image_pull_policy,
        "env": [{"name": name, "value": value} for name, value in sorted(env.items())],
        "resources": dict(wants.resources),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": mounts,
        **wants.extra,
    }


def _build_volumes(model: str, *, secrets: list[str], config: Config) -> list[dict[str, Any]]:
    database = config.database_secret or database_secret_name(model)
    return [
        {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
        {
            "name": "database",
            # All its keys: certificates lie beside the URL where there are any.
            "secret": {"secretName": database, "defaultMode": 0o440},
        },
        *(
            {
                "name": source_volume_name(secret),
                "secret": {"secretName": secret, "optional": True, "defaultMode": 0o440},
            }
            for secret in secrets
        ),
    ]
