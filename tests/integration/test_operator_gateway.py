"""What the real API server answers, and the error it becomes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from kubernetes.aio import client, config
from tests.integration.operator_fixture import Stage, operator_plane, stage

from metricwatch.store.location import DatabaseLocation
from metricwatch.store.pool import Database
from metricwatch_operator import gateway as gateway_module
from metricwatch_operator.apply import Applier
from metricwatch_operator.errors import (
    Away,
    Conflict,
    Fenced,
    NotFound,
    Retryable,
    Terminal,
)
from metricwatch_operator.gateway import FIELD_MANAGER, Gateway
from metricwatch_operator.objects import Ref
from metricwatch_operator.planning.actions import News, Plan
from metricwatch_operator.reading import Reader
from metricwatch_operator.records import Records
from metricwatch_operator.remembered import Remembered
from metricwatch_operator.shelves import Key, Shelf

__all__ = ["operator_plane", "stage"]


@pytest.fixture
async def gateway(stage: Stage) -> AsyncIterator[Gateway]:
    """A gateway with the operator's own rights."""
    configuration = client.Configuration()
    await config.load_kube_config(
        config_file=str(stage.kubeconfig), client_configuration=configuration
    )
    made = Gateway(configuration, timeout_seconds=10)
    yield made
    await made.close()


def _model(stage: Stage, **status: Any) -> dict[str, Any]:
    made = stage.add_model()
    metadata = {name: made["metadata"][name] for name in ("name", "namespace", "uid")}
    kind = {"apiVersion": made["apiVersion"], "kind": made["kind"]}
    return {**kind, "metadata": metadata, "status": {"observedGeneration": 1, **status}}


async def test_a_status_is_owned_by_us_and_applying_it_again_changes_nothing(
    stage: Stage, gateway: Gateway
) -> None:
    status = _model(stage)
    first = await gateway.apply(status, subresource="status")
    second = await gateway.apply(status, subresource="status")
    assert first["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]
    managers = [entry["manager"] for entry in second["metadata"]["managedFields"]]
    assert FIELD_MANAGER in managers


async def test_a_fence_lets_reads_through_and_keeps_back_every_change(stage: Stage) -> None:
    def fence() -> None:
        raise Fenced("another replica may lead", reason="NotLeading")

    configuration = client.Configuration()
    await config.load_kube_config(
        config_file=str(stage.kubeconfig), client_configuration=configuration
    )
    gateway = Gateway(configuration, fence=fence)
    model = _model(stage)
    born = stage.namespace.get("AnomalyModel", "checkout")
    try:
        for _ in range(2):  # over a connection that is made for it, and over one that is there
            for change in (
                gateway.apply(model, subresource="status"),
                gateway.create({**model, "metadata": {"name": "x", "namespace": "shop"}}),
                gateway.replace(model),
                gateway.delete(Ref.of(model)),
            ):
                with pytest.raises(Fenced):
                    await change
            assert "AnomalyModel" in await gateway.served_kinds("metricwatch.io/v1alpha1")
    finally:
        await gateway.close()
    assert stage.namespace.get("AnomalyModel", "checkout") == born


async def test_applying_never_makes_a_model_that_is_gone(stage: Stage, gateway: Gateway) -> None:
    status = _model(stage)
    stage.namespace.delete("AnomalyModel", "checkout")
    with pytest.raises(NotFound):
        await gateway.apply(status, subresource="status")
    finalizer = {name: status[name] for name in ("apiVersion", "kind", "metadata")}
    finalizer["metadata"] = {**status["metadata"], "finalizers": ["metricwatch.io/finalizer"]}
    with pytest.raises(Conflict):
        await gateway.apply(finalizer)
    assert stage.namespace.find("AnomalyModel", "checkout") is None


async def test_an_undeclared_field_is_no_reason_to_try_again(
    stage: Stage, gateway: Gateway
) -> None:
    with pytest.raises(Terminal):
        await gateway.apply(_model(stage, unheardOf=1), subresource="status")


async def test_a_value_of_a_wrong_type_is_no_reason_to_try_again(
    stage: Stage, gateway: Gateway
) -> None:
    with pytest.raises(Terminal):
        await gateway.apply(_model(stage, conditions=[{"type": 3}]), subresource="status")


async def test_creating_twice_is_a_conflict(stage: Stage, gateway: Gateway) -> None:
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "twice", "namespace": "metricwatch-system"},
        "spec": {},
    }
    await gateway.create(lease)
    with pytest.raises(Conflict):
        await gateway.create(lease)


async def test_deleting_what_is_gone_is_done(stage: Stage, gateway: Gateway) -> None:
    await gateway.delete(Ref("batch/v1", "Job", stage.namespace.name, "no-such-job"))


async def test_a_missing_right_is_tried_again_later(stage: Stage, gateway: Gateway) -> None:
    with pytest.raises(Retryable) as caught:
        await gateway.read(Ref("v1", "Secret", stage.namespace.name, "any"))
    assert (caught.value.reason, caught.value.delay) == ("Forbidden", 30.0)


async def test_the_served_kinds_are_those_of_the_crds(gateway: Gateway) -> None:
    assert await gateway.served_kinds("metricwatch.io/v1alpha1") == {"AnomalyModel", "MetricWatch"}
    assert await gateway.served_kinds("metricwatch.io/v9") == frozenset()


async def test_no_answer_is_told_without_a_traceback(stage: Stage) -> None:
    configuration = client.Configuration(host="https://127.0.0.1:1")
    away = Gateway(configuration, timeout_seconds=5)
    try:
        with pytest.raises(Away, match="no answer from the API server"):
            await away.served_kinds("v1")
    finally:
        await away.close()


async def test_what_a_server_said_becomes_an_event_of_a_length_that_is_taken(
    stage: Stage, gateway: Gateway
) -> None:
    location = DatabaseLocation(url="postgresql://nobody@localhost/nothing")
    applier = Applier(
        gateway,
        Records(Database(location, application_name="tests")),
        location=location,
        remembered=Remembered(now=time.monotonic),
        identity="operator-0",
    )
    said = "\x1b[2J" + "ü" * 2000
    news = News(subject=stage.add_model(), reason="Said", message=said, type="Warning")
    await applier.tell(Plan(news=(news,)))
    ((reason, note),) = stage.namespace.events()
    assert reason == "Said"
    assert note.startswith("\\x1b[2Jüü")
    assert 1020 <= len(note.encode()) <= 1024


OURS = {"app.kubernetes.io/managed-by": "metricwatch-operator"}
SELECTOR = "app.kubernetes.io/managed-by=metricwatch-operator"


def _job(stage: Stage, name: str, *, labels: dict[str, str] = OURS) -> dict[str, Any]:
    container = {"name": "main", "image": "example/image:1"}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    return stage.namespace.create(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name, "labels": labels},
            # Nothing is made of it, so that nobody else writes to it.
            "spec": {"suspend": True, "template": template},
        }
    )


async def test_objects_are_read_page_by_page_and_only_those_that_are_asked_for(
    stage: Stage, gateway: Gateway
) -> None:
    for number in range(3):
        _job(stage, f"job-{number}")
    _job(stage, "stranger", labels={})
    jobs, names, token = Ref("batch/v1", "Job", stage.namespace.name, ""), list[str](), ""
    for _ in range(2):
        page = await gateway.read_page(jobs, selector=SELECTOR, limit=2, token=token)
        names += [one["metadata"]["name"] for one in page["items"]]
        token = page["metadata"].get("continue", "")
    assert names == ["job-0", "job-1", "job-2"]
    assert token == ""


async def test_a_reader_holds_what_the_api_server_has_while_it_changes(
    stage: Stage, gateway: Gateway
) -> None:
    stage.namespace.merge("Job", _job(stage, "first")["metadata"]["name"], _of("checkout"))
    shelf = Shelf(lambda one: (one["metadata"]["namespace"], one["metadata"]["labels"]["model"]))
    told: list[Key] = []
    jobs = Ref("batch/v1", "Job", stage.namespace.name, "")
    reader = Reader(gateway, jobs, selector="model", shelf=shelf, changed=told.append)
    reading = asyncio.create_task(reader.run())
    key = (stage.namespace.name, "checkout")
    try:
        await _until(lambda: names_of(shelf, key) == ["first"])
        _job(stage, "second", labels={"model": "checkout"})
        await _until(lambda: names_of(shelf, key) == ["first", "second"])
        before = len(told)
        stage.namespace.merge("Job", "second", _of("cart"))
        await _until(lambda: names_of(shelf, key) == ["first"])
        assert set(told[before:]) >= {key, (stage.namespace.name, "cart")}
        stage.namespace.client.delete(stage.namespace.path("Job", "first"))
        await _until(lambda: names_of(shelf, key) == [])
    finally:
        reading.cancel()


async def test_silence_ends_a_watch_in_good_order(
    stage: Stage, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_module, "_SILENT_SECONDS", 0.5)
    jobs = Ref("batch/v1", "Job", stage.namespace.name, "")
    page = await gateway.read_page(jobs, selector="", limit=10, token="")
    revision = page["metadata"]["resourceVersion"]
    await gateway.follow(jobs, selector="", revision=revision, told=lambda *_: None)


def _of(model: str) -> dict[str, Any]:
    return {"metadata": {"labels": {"model": model}}}


def names_of(shelf: Shelf, key: Key) -> list[str]:
    """Of the objects of a key."""
    return sorted(one["metadata"]["name"] for one in shelf.of(key))


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not is_so():  # noqa: ASYNC110 - a shelf tells nobody
            await asyncio.sleep(0.05)
