"""Children are listed once and followed for ever, whatever the API server answers.

The server is scripted: a real one forgets revisions, or falls silent, only after minutes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tests.unit.test_operator_shelves import CART, CHECKOUT, child, key_of, uids

from metricwatch_operator.errors import ApiError, Away, Expired, Retryable
from metricwatch_operator.informers import InformerCache, build_readers, wait_for_resources
from metricwatch_operator.objects import Ref
from metricwatch_operator.planning.children import MODEL_ANNOTATION
from metricwatch_operator.reading import PAGE, Reader
from metricwatch_operator.shelves import Key, Shelf

DEPLOYMENTS = Ref("apps/v1", "Deployment", "shop", "")
Event = tuple[str, dict[str, Any]]
SHELVES = {"AnomalyModel": "models", "MetricWatch": "watches"}
AWAY = Away("no answer", reason="ApiAway")
EXPIRED = Expired("too old", reason="Expired")


class Script:
    """Answers to lists and watches in order; the reader ends when there are no more."""

    def __init__(
        self,
        lists: list[dict[str, Any] | ApiError],
        watches: list[list[Event | ApiError]],
    ) -> None:
        self.lists, self.watches = lists, watches
        self.asked: list[tuple[str, str]] = []
        self.slept: list[float] = []
        self.lasts, self.time = 0.0, 0.0

    async def read_page(
        self, kind: Ref, *, selector: str, limit: int, token: str
    ) -> dict[str, Any]:
        assert (kind, selector, limit) == (DEPLOYMENTS, "ours", PAGE)
        self.asked.append(("list", token))
        answer = self._next(self.lists)
        if isinstance(answer, ApiError):
            raise answer
        return dict(answer)

    async def follow(
        self,
        kind: Ref,
        *,
        selector: str,
        revision: str,
        told: Callable[[str, dict[str, Any]], None],
    ) -> None:
        assert (kind, selector) == (DEPLOYMENTS, "ours")
        self.asked.append(("watch", revision))
        self.time += self.lasts
        for event in self._next(self.watches):
            if isinstance(event, ApiError):
                raise event
            told(*event)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    @staticmethod
    def _next(answers: list[Any]) -> Any:
        if not answers:
            raise asyncio.CancelledError
        return answers.pop(0)


def page(*items: dict[str, Any], revision: str = "10", more: str = "") -> dict[str, Any]:
    """A page of a list."""
    metadata = {"resourceVersion": revision} | ({"continue": more} if more else {})
    return {"metadata": metadata, "items": list(items)}


def bookmark(revision: str) -> Event:
    """What a watch says when nothing happened."""
    return "BOOKMARK", {"metadata": {"resourceVersion": revision}}


async def read(script: Script) -> tuple[Reader, Shelf, list[Key]]:
    """The reader, its shelf and what it told, at the end of a script."""
    shelf, told = Shelf(key_of), list[Key]()
    reader = Reader(
        script,
        DEPLOYMENTS,
        selector="ours",
        shelf=shelf,
        changed=told.append,
        sleep=script.sleep,
        now=lambda: script.time,
    )
    with suppress(asyncio.CancelledError):
        await reader.run()
    return reader, shelf, told


async def test_all_pages_are_read_before_anything_is_followed() -> None:
    script = Script([page(child("a"), more="next"), page(child("b", model="cart"))], [])
    reader, shelf, told = await read(script)
    assert script.asked == [("list", ""), ("list", "next"), ("watch", "10")]
    assert told == [CHECKOUT, CART]
    assert reader.listed.is_set()
    assert uids(shelf, CHECKOUT) == ["a"]


async def test_parts_of_a_list_are_named_as_those_of_a_watch_are() -> None:
    _, shelf, _ = await read(Script([page(child("a"))], []))
    (kept,) = shelf.of(CHECKOUT)
    assert (kept["apiVersion"], kept["kind"]) == ("apps/v1", "Deployment")


async def test_a_list_that_breaks_off_is_not_taken_for_everything() -> None:
    reader, shelf, _ = await read(Script([page(child("a"), more="next"), AWAY], []))
    assert not reader.listed.is_set()
    assert uids(shelf, CHECKOUT) == ["a"]


async def test_what_happens_is_told_as_it_happens() -> None:
    events: list[Event | ApiError] = [
        ("ADDED", child("b", model="cart", resourceVersion="11")),
        ("MODIFIED", child("a", resourceVersion="12")),
        ("DELETED", child("b", model="cart", resourceVersion="13")),
        bookmark("20"),
    ]
    script = Script([page(child("a"))], [events])
    _, shelf, told = await read(script)
    assert told == [CHECKOUT, CART, CHECKOUT, CART]
    assert (uids(shelf, CHECKOUT), uids(shelf, CART)) == (["a"], [])


async def test_a_watch_goes_on_where_the_last_one_ended() -> None:
    changed: Event = ("MODIFIED", child("a", resourceVersion="12"))
    script = Script([page(child("a"))], [[changed, bookmark("20")], [bookmark("30")]])
    await read(script)
    assert script.asked[1:] == [("watch", "10"), ("watch", "20"), ("watch", "30")]
    assert script.slept == []


async def test_an_answer_that_fails_to_come_is_asked_for_again_without_a_list() -> None:
    script = Script([page(child("a"))], [[bookmark("15"), AWAY], [AWAY], [AWAY], [bookmark("16")]])
    await read(script)
    assert [what for what, _ in script.asked].count("list") == 1
    assert script.asked[-1] == ("watch", "16")
    assert script.slept == [1, 2, 4]


async def test_delays_begin_anew_when_something_was_heard() -> None:
    script = Script([page()], [[AWAY], [AWAY], [bookmark("11"), AWAY], [AWAY]])
    await read(script)
    assert script.slept == [1, 2, 1, 2]


async def test_a_server_that_asks_for_time_gets_it() -> None:
    busy = Retryable("too many requests", reason="TooManyRequests", delay=7.0)
    script = Script([busy, page()], [])
    await read(script)
    assert script.slept == [7]


async def test_after_a_gap_only_what_is_another_is_told() -> None:
    again = page(child("a"), child("b", model="cart", resourceVersion="99"), revision="100")
    script = Script(
        [page(child("a"), child("b", model="cart"), child("c")), again], [[EXPIRED], []]
    )
    _, shelf, told = await read(script)
    # Three that were new; then one that changed and one that went meanwhile.
    assert told[3:] == [CART, CHECKOUT]
    assert uids(shelf, CHECKOUT) == ["a"]
    assert script.asked[-1] == ("watch", "100")


async def test_a_token_that_is_too_old_begins_the_list_again() -> None:
    script = Script([page(child("a"), more="old"), EXPIRED, page(child("b"))], [])
    _, shelf, _ = await read(script)
    assert uids(shelf, CHECKOUT) == ["b"]


async def test_a_watch_that_ends_as_soon_as_it_began_is_not_asked_for_at_once() -> None:
    script = Script([page()], [[], [], []])
    await read(script)
    assert script.slept == [1, 2, 4]


async def test_a_kind_that_nothing_happens_to_is_followed_without_a_pause() -> None:
    script = Script([page()], [[], [], []])
    script.lasts = 90
    await read(script)
    assert script.slept == []
    assert script.asked == [("list", ""), *[("watch", "10")] * 4]


class OneOfEach:
    """Has a child of each kind, and ends what follows."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []

    async def read_page(
        self, kind: Ref, *, selector: str, limit: int, token: str
    ) -> dict[str, Any]:
        self.asked.append((kind.kind, kind.namespace, selector))
        return page(child(kind.kind, annotations={MODEL_ANNOTATION: "checkout"}))

    async def follow(self, kind: Ref, **_: Any) -> None:
        raise asyncio.CancelledError


async def _read_all(cache: InformerCache, *namespaces: str) -> tuple[OneOfEach, list[Key]]:
    source, told = OneOfEach(), list[Key]()
    for reader in build_readers(cache, source, told.append, namespaces=namespaces):
        with suppress(asyncio.CancelledError):
            await reader.run()
    return source, told


async def test_each_kind_of_child_is_read_in_each_namespace_and_only_ours() -> None:
    ours = "app.kubernetes.io/managed-by=metricwatch-operator"
    everywhere, _ = await _read_all(InformerCache())
    assert everywhere.asked == [(kind, "", ours) for kind in ("Job", "Deployment", "Pod")]
    two, _ = await _read_all(InformerCache(), "shop", "other")
    assert [where for _, where, _ in two.asked] == ["shop"] * 3 + ["other"] * 3


async def test_children_are_told_of_when_everything_is_known() -> None:
    cache = InformerCache()
    _, told = await _read_all(cache)
    assert told == []
    assert [one["kind"] for one in cache.children("jobs", CHECKOUT)] == ["Job"]
    cache = InformerCache()
    cache.is_complete = True
    _, told = await _read_all(cache)
    assert told == [CHECKOUT] * 3


class Growing:
    """Lists two of each kind; a shelf gets one more of them each time that they are listed."""

    def __init__(self, cache: InformerCache, *answers: ApiError) -> None:
        self._cache, self._answers = cache, list(answers)
        self.asked: list[tuple[str, str]] = []

    async def read_page(
        self, kind: Ref, *, selector: str, limit: int, token: str
    ) -> dict[str, Any]:
        assert (selector, limit) == ("", PAGE)
        if self._answers:
            raise self._answers.pop(0)
        self.asked.append((kind.kind, kind.namespace))
        names = [f"{kind.kind}-{number}" for number in range(2)]
        shelf = self._cache.shelves[
            {"AnomalyModel": "models", "MetricWatch": "watches"}[kind.kind]
        ]
        unknown = [name for name in names if shelf.key_of(name) is None]
        for name in unknown[:1]:
            shelf.put({**child(name), "spec": {"modelRef": {"name": "checkout"}}})
        later = bool(token)
        return page(*map(child, names[later : later + 1]), more="" if later else "next")

    async def follow(self, kind: Ref, **_: Any) -> None:
        raise NotImplementedError


async def test_nothing_is_complete_before_kopf_has_told_of_all_that_is_listed() -> None:
    cache = InformerCache()
    source = Growing(cache, AWAY)
    await wait_for_resources(cache, source, namespaces=(), every=0)
    for kind, shelf in SHELVES.items():
        assert cache.shelves[shelf].key_of(f"{kind}-1") is not None
        assert (kind, "") in source.asked


async def test_each_namespace_is_waited_for() -> None:
    cache = InformerCache()
    source = Growing(cache)
    await wait_for_resources(cache, source, namespaces=("shop", "other"), every=0)
    assert {where for _, where in source.asked} == {"shop", "other"}
