"""Children by the key of their model: what each change concerns, and what is forgotten."""

from __future__ import annotations

from typing import Any

from metricwatch_operator.objects import Manifest
from metricwatch_operator.shelves import Key, Shelf

CHECKOUT, CART = ("shop", "checkout"), ("shop", "cart")


def child(uid: str, *, model: str | None = "checkout", **metadata: Any) -> dict[str, Any]:
    """A child as the API server would tell of it."""
    own = {"uid": uid, "name": uid, "namespace": "shop", "resourceVersion": "1"}
    return {"metadata": {**own, "model": model, **metadata}}


def key_of(manifest: Manifest) -> Key | None:
    """Of children made by `child`."""
    metadata = manifest["metadata"]
    return (metadata["namespace"], metadata["model"]) if metadata["model"] else None


def uids(shelf: Shelf, key: Key) -> list[str]:
    """Of the objects of a key."""
    return sorted(one["metadata"]["uid"] for one in shelf.of(key))


def test_an_object_that_comes_concerns_its_model() -> None:
    shelf = Shelf(key_of)
    assert shelf.put(child("a")) == {CHECKOUT}
    assert shelf.put(child("b")) == {CHECKOUT}
    assert uids(shelf, CHECKOUT) == ["a", "b"]


def test_an_object_that_is_as_it_was_concerns_nobody() -> None:
    shelf = Shelf(key_of)
    shelf.put(child("a"))
    assert shelf.put(child("a")) == frozenset()
    assert shelf.put(child("a", resourceVersion="2")) == {CHECKOUT}
    (kept,) = shelf.of(CHECKOUT)
    assert kept["metadata"]["resourceVersion"] == "2"


def test_an_object_that_changes_hands_concerns_both_models() -> None:
    shelf = Shelf(key_of)
    shelf.put(child("a"))
    assert shelf.put(child("a", model="cart", resourceVersion="2")) == {CHECKOUT, CART}
    assert (uids(shelf, CHECKOUT), uids(shelf, CART)) == ([], ["a"])


def test_an_object_that_is_nobodys_any_more_concerns_who_had_it() -> None:
    shelf = Shelf(key_of)
    assert shelf.put(child("b", model=None)) == frozenset()
    shelf.put(child("a"))
    assert shelf.put(child("a", model=None, resourceVersion="2")) == {CHECKOUT}
    assert uids(shelf, CHECKOUT) == []
    assert list(shelf) == []


def test_an_object_that_goes_concerns_its_model_once() -> None:
    shelf = Shelf(key_of)
    shelf.put(child("a"))
    shelf.put(child("b"))
    assert shelf.drop("a") == {CHECKOUT}
    assert shelf.drop("a") == frozenset()
    assert uids(shelf, CHECKOUT) == ["b"]


def test_what_a_list_no_longer_names_is_gone_in_its_namespace_alone() -> None:
    shelf = Shelf(key_of)
    for one in (child("a"), child("b", model="cart"), child("c", namespace="other")):
        shelf.put(one)
    assert shelf.retain({"a"}, namespace="shop") == {CART}
    assert [one["metadata"]["uid"] for one in shelf] == ["a", "c"]
    assert shelf.retain(set(), namespace="") == {CHECKOUT, ("other", "checkout")}


def test_only_what_is_kept_is_held() -> None:
    shelf = Shelf(key_of, lambda manifest: {"metadata": manifest["metadata"]})
    shelf.put({**child("a"), "spec": "large"})
    assert "spec" not in shelf.of(CHECKOUT)[0]
    assert shelf.put({**child("a"), "spec": "large"}) == frozenset()
