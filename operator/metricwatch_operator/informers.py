"""Kopf as what it is best at: lists, watches and indices; nothing is decided here.

Handlers only enqueue keys, because errors in `on.event` are swallowed, and because the queue
decides how often and how many at a time. Indices are complete before the first handler runs, so
the first reconcile after a start already sees every child, and writes nothing when nothing
changed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import kopf

from metricwatch_operator.objects import Manifest
from metricwatch_operator.planning.children import MODEL_ANNOTATION
from metricwatch_operator.planning.names import MANAGED_BY, MANAGED_BY_LABEL
from metricwatch_operator.sharing import Sharing

Key = tuple[str, str]
"""Namespace and name of a model: what is reconciled."""

MODELS = ("metricwatch.io", "v1alpha1", "anomalymodels")
WATCHES = ("metricwatch.io", "v1alpha1", "metricwatches")
JOBS = ("batch", "v1", "jobs")
DEPLOYMENTS = ("apps", "v1", "deployments")
PODS = ("", "v1", "pods")
CHILDREN = {"jobs": JOBS, "deployments": DEPLOYMENTS, "pods": PODS}


class InformerCache:
    """What kopf's indices hold, by the key of the model that it concerns."""

    def __init__(self) -> None:
        self.sharing = Sharing()
        self._indices: Mapping[str, Any] = {}
        self._model_of_watch: dict[str, Key] = {}

    def bind(self, indices: Mapping[str, Any]) -> None:
        """Takes the indices that kopf hands to each handler; they are the same ones every time."""
        if not self._indices:
            self._indices = {
                name: indices[name] for name in ("models", "uids", "watches", *CHILDREN)
            }

    def model(self, key: Key) -> Manifest | None:
        """The AnomalyModel of this key."""
        return next(iter(self._find("models", key)), None)

    def watches(self, key: Key) -> tuple[Manifest, ...]:
        """MetricWatches that refer to this key, by name."""
        return tuple(self._find("watches", key))

    def children(self, kind: str, key: Key) -> tuple[Manifest, ...]:
        """Jobs, deployments or pods of this key, by name."""
        return tuple(self._find(kind, key))

    def model_keys(self) -> Iterator[Key]:
        """Every model, and every name that a watch refers to."""
        yield from {key for name in ("models", "watches") for key in self._indices.get(name, ())}

    def key_of_uid(self, uid: str) -> Key | None:
        """The key of the model with this uid."""
        return next(iter(self._indices.get("uids", {}).get(uid, ())), None)

    def resources(self) -> Iterator[Manifest]:
        """Every model and every watch."""
        for name in ("models", "watches"):
            for stored in self._indices.get(name, {}).values():
                yield from stored

    def moved_from(self, uid: str, key: Key) -> Key | None:
        """Where a watch pointed before it pointed at `key`; None when that is no other model."""
        before = self._model_of_watch.get(uid)
        self._model_of_watch[uid] = key
        return before if before != key else None

    def forget_watch(self, uid: str) -> None:
        """Drops what is remembered about a watch that is gone."""
        self._model_of_watch.pop(uid, None)

    def keep(self, body: Mapping[str, Any]) -> Any:
        """The object as it is kept: without what no decision looks at, which is most of it."""
        manifest = dict(body)
        metadata = dict(manifest["metadata"])
        metadata.pop("managedFields", None)
        manifest["metadata"] = metadata
        if manifest.get("kind") == "Pod":
            manifest.pop("spec", None)
        return self.sharing.share(manifest)

    def _find(self, index: str, key: Key) -> list[Manifest]:
        found = self._indices.get(index, {}).get(key, ())
        return sorted(found, key=lambda manifest: str(manifest["metadata"]["name"]))


def build_registry(cache: InformerCache, enqueue: Callable[[Key], None]) -> kopf.OperatorRegistry:
    """Indices and handlers for everything that a reconcile looks at."""
    registry = kopf.OperatorRegistry()
    _add_resources(registry, cache, enqueue)
    for kind, resource in CHILDREN.items():
        _add_children(registry, kind, resource, cache, enqueue)
    kopf.on.login(registry=registry, retries=3)(_login)
    return registry


def build_settings() -> kopf.OperatorSettings:
    """Kopf without finalizers, annotations, events or discovery of its own."""
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.posting.level = logging.WARNING
    # Each object has a task until it was quiet for so long: at a start, all of them at once.
    settings.queueing.idle_timeout = 0.5
    settings.watching.server_timeout = 600
    settings.watching.connect_timeout = 10
    settings.watching.chunk_size = 500
    settings.networking.request_timeout = 30
    settings.networking.error_backoffs = EndlessBackoff()
    settings.process.ultimate_exiting_timeout = 25
    # Only needed by handlers that we do not have; should one ever be added, under our own name.
    settings.persistence.finalizer = "metricwatch.io/kopf"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(
        prefix="metricwatch.io", v1=False
    )
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(
        prefix="metricwatch.io"
    )
    for resource in CHILDREN.values():
        settings.watching.label_selectors[resource] = f"{MANAGED_BY_LABEL}={MANAGED_BY}"
    return settings


class EndlessBackoff:
    """Delays between attempts at a request: one second, doubling to a minute, for ever."""

    def __iter__(self) -> Iterator[float]:
        delay = 1.0
        while True:
            yield delay
            delay = min(delay * 2, 60.0)


def _login(**kwargs: Any) -> Any:
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)


def _add_resources(
    registry: kopf.OperatorRegistry, cache: InformerCache, enqueue: Callable[[Key], None]
) -> None:
    async def models(body: Any, namespace: str, name: str, **_: Any) -> Any:
        return {(namespace, name): cache.keep(body)}

    async def uids(namespace: str, name: str, uid: str, **_: Any) -> Any:
        return {uid: (namespace, name)}

    async def watches(body: Any, namespace: str, **_: Any) -> Any:
        return {(namespace, _model_name(body)): cache.keep(body)}

    async def on_model(namespace: str, name: str, **indices: Any) -> None:
        cache.bind(indices)
        enqueue((namespace, name))

    async def on_watch(body: Any, namespace: str, uid: str, type: str, **indices: Any) -> None:  # noqa: A002 - kopf's name
        cache.bind(indices)
        key = (namespace, _model_name(body))
        before = cache.moved_from(uid, key)
        if before is not None:
            enqueue(before)
        if type == "DELETED":
            cache.forget_watch(uid)
        enqueue(key)

    # Called, not written with @: kopf's decorators have no types that mypy could check us by.
    kopf.index(*MODELS, registry=registry, id="models")(models)
    kopf.index(*MODELS, registry=registry, id="uids")(uids)
    kopf.index(*WATCHES, registry=registry, id="watches")(watches)
    kopf.on.event(*MODELS, registry=registry, id="model")(on_model)
    kopf.on.event(*WATCHES, registry=registry, id="watch")(on_watch)


def _add_children(
    registry: kopf.OperatorRegistry,
    kind: str,
    resource: tuple[str, str, str],
    cache: InformerCache,
    enqueue: Callable[[Key], None],
) -> None:
    async def child(body: Any, namespace: str, annotations: Any, **_: Any) -> Any:
        name = annotations.get(MODEL_ANNOTATION)
        return {(namespace, name): cache.keep(body)} if name else None

    async def on_child(namespace: str, annotations: Any, **indices: Any) -> None:
        cache.bind(indices)
        name = annotations.get(MODEL_ANNOTATION)
        if name:
            enqueue((namespace, name))

    kopf.index(*resource, registry=registry, id=kind)(child)
    kopf.on.event(*resource, registry=registry, id=f"child-{kind}")(on_child)


def _model_name(body: Mapping[str, Any]) -> str:
    reference = (body.get("spec") or {}).get("modelRef") or {}
    return str(reference.get("name", ""))
