"""Everything that a reconcile looks at, as the API server has it; nothing is decided here.

Kopf watches models and watches, `reading` their children; both put what they hear of on shelves
and enqueue keys, because the queue decides how often and how many at a time. It begins when the
shelves are complete, so the first reconcile after a start already sees everything, and writes
nothing when nothing changed.

Kopf's own indices would be complete before the first handler runs, but of each object that they
wait for they wake all others: of 5,000 that was more than a minute of work, with all manifests as
they came in memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import kopf
import structlog

from metricwatch_operator.errors import ApiError
from metricwatch_operator.objects import Manifest, Ref
from metricwatch_operator.planning.children import MODEL_ANNOTATION
from metricwatch_operator.planning.names import MANAGED_BY, MANAGED_BY_LABEL
from metricwatch_operator.reading import EndlessBackoff, Reader, Source, read_uids
from metricwatch_operator.sharing import Sharing
from metricwatch_operator.shelves import Key, Shelf

log = structlog.get_logger(__name__)
RESOURCES = {
    "models": Ref("metricwatch.io/v1alpha1", "AnomalyModel", "", ""),
    "watches": Ref("metricwatch.io/v1alpha1", "MetricWatch", "", ""),
}
_PLURALS = {"models": "anomalymodels", "watches": "metricwatches"}
CHILDREN = {
    "jobs": ("batch/v1", "Job"),
    "deployments": ("apps/v1", "Deployment"),
    "pods": ("v1", "Pod"),
}


class InformerCache:
    """What the API server has, by the key of the model that it concerns."""

    def __init__(self) -> None:
        self.sharing = Sharing()
        self.is_complete = False
        """Whether everything that there was is here; until then nobody should look."""
        self.shelves = {
            "models": Shelf(_model_of_model, self.keep),
            "watches": Shelf(_model_of_watch, self.keep),
            **{kind: Shelf(_model_of_child, self.keep) for kind in CHILDREN},
        }

    def model(self, key: Key) -> Manifest | None:
        """The AnomalyModel of this key."""
        return next(iter(self.shelves["models"].of(key)), None)

    def watches(self, key: Key) -> tuple[Manifest, ...]:
        """MetricWatches that refer to this key, by name."""
        return _by_name(self.shelves["watches"].of(key))

    def children(self, kind: str, key: Key) -> tuple[Manifest, ...]:
        """Jobs, deployments or pods of this key, by name."""
        return _by_name(self.shelves[kind].of(key))

    def model_keys(self) -> Iterator[Key]:
        """Every model, and every name that a watch refers to."""
        yield from {key for name in RESOURCES for key in self.shelves[name].held()}

    def key_of_uid(self, uid: str) -> Key | None:
        """The key of the model with this uid."""
        return self.shelves["models"].key_of(uid)

    def resources(self) -> Iterator[Manifest]:
        """Every model and every watch."""
        for name in RESOURCES:
            yield from self.shelves[name]

    def keep(self, body: Mapping[str, Any]) -> Any:
        """The object as it is kept: without what no decision looks at, which is most of it."""
        manifest = dict(body)
        metadata = dict(manifest["metadata"])
        metadata.pop("managedFields", None)
        manifest["metadata"] = metadata
        if manifest.get("kind") == "Pod":
            manifest.pop("spec", None)
        return self.sharing.share(manifest)


def build_registry(cache: InformerCache, enqueue: Callable[[Key], None]) -> kopf.OperatorRegistry:
    """Handlers for models and watches."""
    registry = kopf.OperatorRegistry()
    for name in RESOURCES:
        _add_resource(registry, name, cache, enqueue)
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
        if cache.is_complete:
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


async def wait_for_resources(
    cache: InformerCache,
    source: Source,
    *,
    namespaces: Iterable[str],
    every: float = 0.5,
) -> None:
    """Returns when kopf has told of every model and every watch that there is.

    It does not say when it has; a list of our own says what is to come.
    """
    for namespace in tuple(namespaces) or ("",):
        for name, kind in RESOURCES.items():
            known = cache.shelves[name]
            while not await _is_known(  # noqa: ASYNC110 - kopf tells nobody
                replace(kind, namespace=namespace), source, known
            ):
                await asyncio.sleep(every)


async def _is_known(kind: Ref, source: Source, shelf: Shelf) -> bool:
    try:
        return all([shelf.key_of(uid) is not None async for uid in read_uids(source, kind)])
    except ApiError as error:
        log.warning("cannot list", kind=kind.kind, error=str(error))
        return False


def _add_resource(
    registry: kopf.OperatorRegistry,
    name: str,
    cache: InformerCache,
    enqueue: Callable[[Key], None],
) -> None:
    shelf = cache.shelves[name]

    async def on_event(body: Any, uid: str, type: str | None, **_: Any) -> None:  # noqa: A002 - kopf's name
        keys = shelf.drop(uid) if type == "DELETED" else shelf.put(body)
        if cache.is_complete:
            for key in keys:
                enqueue(key)

    group, version = RESOURCES[name].api_version.split("/")
    # Called, not written with @: kopf's decorators have no types that mypy could check us by.
    kopf.on.event(group, version, _PLURALS[name], registry=registry, id=name)(on_event)


def _by_name(manifests: Iterable[Manifest]) -> tuple[Manifest, ...]:
    return tuple(sorted(manifests, key=lambda manifest: str(manifest["metadata"]["name"])))


def _model_of_child(manifest: Manifest) -> Key | None:
    metadata = manifest["metadata"]
    name = (metadata.get("annotations") or {}).get(MODEL_ANNOTATION)
    return (metadata["namespace"], name) if name else None


def _model_of_model(manifest: Manifest) -> Key:
    return (manifest["metadata"]["namespace"], manifest["metadata"]["name"])


def _model_of_watch(manifest: Manifest) -> Key:
    reference = (manifest.get("spec") or {}).get("modelRef") or {}
    return (manifest["metadata"]["namespace"], str(reference.get("name", "")))
