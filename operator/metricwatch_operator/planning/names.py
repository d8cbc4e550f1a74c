"""Names and labels of children: the same for the same input, within Kubernetes' 63 characters."""

from __future__ import annotations

import hashlib

MANAGED_BY = "metricwatch-operator"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MODEL_LABEL = "metricwatch.io/model"
VERSION_LABEL = "metricwatch.io/version"
SHARD_LABEL = "metricwatch.io/shard"
COMPONENT_LABEL = "app.kubernetes.io/component"
FINALIZER = "metricwatch.io/finalizer"

_LONGEST = 63
_LONGEST_JOB = _LONGEST - len("-99")
"""Pods of an Indexed Job are named after it and their index."""
_HASH_LENGTH = 8


def fit(name: str, *, suffix: str = "", longest: int = _LONGEST) -> str:
    """`name + suffix`, the name cut and marked with a hash of itself where it would be too long.

    >>> fit("checkout", suffix="-train-v3")
    'checkout-train-v3'
    >>> len(fit("a" * 200, suffix="-train-v3"))
    63
    """
    if len(name) + len(suffix) <= longest:
        return name + suffix
    digest = hashlib.blake2b(name.encode(), digest_size=_HASH_LENGTH // 2).hexdigest()
    room = longest - len(suffix) - len(digest) - 1
    return f"{name[:room].rstrip('-.')}-{digest}{suffix}"


def trainer_job_name(model: str, version: int) -> str:
    """Name of the trainer Job of a model version.

    A pod's host name may not hold a dot, and Job names become part of pod names, so dots go.
    """
    return fit(_undotted(model), suffix=f"-train-v{version}", longest=_LONGEST_JOB)


def search_job_name(model: str, version: int) -> str:
    """Name of the Job that searches for parameters before a version is trained."""
    return fit(_undotted(model), suffix=f"-search-v{version}", longest=_LONGEST_JOB)


def detector_name(model: str, version: int, shard: int) -> str:
    """Name of the detector Deployment of one shard of a model version."""
    return fit(_undotted(model), suffix=f"-detector-v{version}-{shard}")


def database_secret_name(model: str) -> str:
    """Name of the Secret with the database URL for a model's children."""
    return fit(model, suffix="-database", longest=253)


def source_volume_name(secret: str) -> str:
    """Name of the volume that mounts a source's Secret; volume names are DNS labels."""
    return fit(_undotted(secret), suffix="-source")


def label_value(name: str) -> str:
    """A resource name as a label value: at most 63 characters."""
    return fit(name)


def child_labels(
    model: str, *, component: str, version: int | None = None, shard: int | None = None
) -> dict[str, str]:
    """Labels of a child and of its pods."""
    labels = {
        "app.kubernetes.io/name": "metricwatch",
        "app.kubernetes.io/instance": label_value(model),
        COMPONENT_LABEL: component,
        "app.kubernetes.io/part-of": "metricwatch",
        MANAGED_BY_LABEL: MANAGED_BY,
        MODEL_LABEL: label_value(model),
    }
    if version is not None:
        labels["app.kubernetes.io/version"] = f"v{version}"
        labels[VERSION_LABEL] = str(version)
    if shard is not None:
        labels[SHARD_LABEL] = str(shard)
    return labels


def _undotted(name: str) -> str:
    if "." not in name:
        return name
    # "a.b" and "a-b" are different models and must not share children.
    digest = hashlib.blake2b(name.encode(), digest_size=_HASH_LENGTH // 2).hexdigest()
    return f"{name.replace('.', '-')}-{digest}"
