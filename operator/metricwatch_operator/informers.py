"""Everything that a reconcile looks at, as the API server has it; nothing is decided here.

Kopf lists, watches and indexes models and watches; children are read by `reading`. Handlers only
enqueue keys, because errors in `on.event` are swallowed, and because the queue decides how often
and how many at a time. Indices are complete before the first handler runs, and the queue begins
when the children are there, so the first reconcile after a start already sees every child, and
writes nothing when nothing changed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import kopf

from metricwatch_operator.objects import Manifest, Ref
from metricwatch_operator.planning.children import MODEL_ANNOTATION
from metricwatch_operator.planning.names import MANAGED_BY, MANAGED_BY_LABEL
from metricwatch_operator.reading import EndlessBackoff, Reader, Source
from metricwatch_operator.sharing import Sharing
from metricwatch_operator.shelves import Key, Shelf

MODELS = ("metricwatch.io", "v1alpha1", "anomalymodels")
WATCHES = ("metricwatch.io", "v1alpha1", "metricwatches")
RESOURCES = (MODELS, WATCHES)
CHILDREN = {
    "jobs": ("batch/v1", "Job"),
    "deployments": ("apps/v1", "Deployment"),
    "pods": ("v1", "Pod"),
}


class InformerCache:
    """What the API server has, by the key of the model that it concerns."""

    def __init__(self) -> None:
        self.sharing = Sharing()
        self.shelves = {kind: Shelf(_model_of_child, self.keep) for kind in CHILDREN}
        self._indices: Mapping[str, Any] = {}
        self._model_of_watch: dict[str, Key] = {}

    def bind(self, indices: Mapping[str, Any]) -> None:
        """Takes the indices that kopf hands to each handler; they are the same ones every time."""
        if not self._indices:
            self._indices = {name: indices[name] for name in ("models", "uids", "watches")}

    @property
    def is_bound(self) -> bool:
        """Whether models and watches are all here; until then each will be told of once more."""
        return bool(self._indices)

    def model(self, key: Key) -> Manifest | None:
        """The AnomalyModel of this key."""
        return next(iter(self._find("models", key)), None)

    def watches(self, key: Key) -> tuple[Manifest, ...]:
        """MetricWatches that refer to this key, by name."""
        return tuple(self._find("watches", key))

    def children(self, kind: str, key: Key) -> tuple[Manifest, ...]:
        """Jobs, deployments or pods of this key, by name."""
        return tuple(_by_name(self.shelves[kind].of(key)))

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
        return _by_name(self._indices.get(index, {}).get(key, ()))


def build_registry(cache: InformerCache, enqueue: Callable[[Key], None]) -> kopf.OperatorRegistry:
    """Indices and handlers for models and watches."""
    registry = kopf.OperatorRegistry()
    _add_resources(registry, cache, enqueue)
    kopf.on.login(registry=registry, retries=3)(_login)
    return registry


def build_settings() -> kopf.OperatorSettings:
    """Kopf without finalizers, annotations, events or discovery of its own."""
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.posting.level = logging.WARNING
    # Each object has a task until it was quiet for so long: at a start, all of them at once.
    settings.queueing.idle_timeout = 0.1
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
    return settings


def build_readers(
    cache: InformerCache,
    source: Source,
    enqueue: Callable[[Key], None],
    *,
    namespaces: Iterable[str],
) -> tuple[Reader, ...]:
    """A reader for each kind of child, in each of these namespaces, or one for all of them."""

    def changed(key: Key) -> None:
        # Before that each model is told of, and is looked at when its children are there.
        if cache.is_bound:
            enqueue(key)

    return tuple(
        Reader(
            source,
            Ref(*kind, namespace, ""),
            selector=f"{MANAGED_BY_LABEL}={MANAGED_BY}",
            shelf=cache.shelves[name],
            changed=changed,
        )
        for namespace in (tuple(namespaces) or ("",))
        for name, kind in CHILDREN.items()
    )


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


def _by_name(manifests: Iterable[Manifest]) -> list[Manifest]:
    return sorted(manifests, key=lambda manifest: str(manifest["metadata"]["name"]))


def _model_of_child(manifest: Manifest) -> Key | None:
    metadata = manifest["metadata"]
    name = (metadata.get("annotations") or {}).get(MODEL_ANNOTATION)
    return (metadata["namespace"], name) if name else None


def _model_name(body: Mapping[str, Any]) -> str:
    reference = (body.get("spec") or {}).get("modelRef") or {}
    return str(reference.get("name", ""))
