"""Kubernetes objects as they travel through this package: manifests, and addresses of objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

Manifest = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ref:
    """One object by its address, and by its uid where only that very object is meant."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str = ""

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """The address of a manifest."""
        metadata = manifest["metadata"]
        return cls(
            api_version=manifest["apiVersion"],
            kind=manifest["kind"],
            namespace=metadata.get("namespace", ""),
            name=metadata.get("name", ""),
            uid=metadata.get("uid", ""),
        )
