"""Whatever an artifact claims, it is refused with a reason or can be scored with."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load, save
from tests.unit.test_artifact import make_chunk, rewritten

from metricwatch.algorithms import FAMILIES
from metricwatch.artifact import ArtifactError, pack, unpack

HOSTILE = st.one_of(
    st.sampled_from(
        [None, True, -1, 0, 10**6, 2**31, 2**63, 10**400, 1e308, -0.0, "", "x" * 1000, [], {}]
    ),
    st.sampled_from([float("nan"), float("inf"), [[[]]], ["__class__"], {"a": 1}, [0, -1, 2**40]]),
    st.integers(),
    st.floats(),
)
DTYPES = ("float16", "float32", "float64", "int8", "int64", "uint64", "bool")


@cache
def content_of(family: str) -> bytes:
    return pack(make_chunk(family))


def is_refused_or_usable(content: bytes) -> None:
    """Anything else is raised and fails the test."""
    with np.errstate(all="ignore"):
        try:
            chunk = unpack(content)
        except ArtifactError:
            return
        step = chunk.bank.step(600_000, np.zeros(chunk.series))
    assert step.expected.shape[0] == len(chunk.scored)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in a JSON value something can be replaced."""
    found = [path] if path else []
    if isinstance(value, dict | list):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            found += places(one, (*path, key))
    return found


def replaced(path: tuple[Any, ...], by: Any) -> Callable[[Any], None]:
    def change(header: Any) -> None:
        for key in path[:-1]:
            header = header[key]
        header[path[-1]] = by

    return change


def header_of(content: bytes) -> Any:
    length = int.from_bytes(content[:8], "little")
    return json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["metricwatch"])


def with_tensors(content: bytes, change: Callable[[dict[str, NDArray[Any]]], None]) -> bytes:
    tensors = {name: value.copy() for name, value in load(content).items()}
    change(tensors)
    metadata = {"metricwatch": json.dumps(header_of(content))}
    return bytes(save(tensors, metadata=metadata))


# The same examples each time: this is part of what every change has to pass.
FUZZ = settings(
    max_examples=20,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much],
)


@pytest.mark.parametrize("family", FAMILIES)
@FUZZ
@given(data=st.data())
def test_a_header_with_a_hostile_value_anywhere(family: str, data: st.DataObject) -> None:
    content = content_of(family)
    place = data.draw(st.sampled_from(places(header_of(content))))
    is_refused_or_usable(rewritten(content, replaced(place, data.draw(HOSTILE))))


@pytest.mark.parametrize("family", FAMILIES)
@FUZZ
@given(data=st.data())
def test_a_tensor_of_another_type_or_shape_or_with_values_that_are_none(
    family: str, data: st.DataObject
) -> None:
    content = content_of(family)
    name = data.draw(st.sampled_from(sorted(load(content))))

    def change(tensors: dict[str, NDArray[Any]]) -> None:
        value = tensors[name]
        match data.draw(st.sampled_from(["type", "shape", "longer", "values", "gone", "empty"])):
            case "type":
                with np.errstate(all="ignore"):
                    tensors[name] = value.astype(data.draw(st.sampled_from(DTYPES)))
            case "shape":
                tensors[name] = value.reshape(-1)
            case "longer":
                tensors[name] = np.concatenate([value, value])
            case "values":
                wild = data.draw(st.sampled_from([np.nan, np.inf, -np.inf, 1e308, -1, 0, 2**31]))
                with np.errstate(all="ignore"):
                    tensors[name] = np.full(value.shape, wild).astype(value.dtype)
            case "gone":
                del tensors[name]
            case "empty":
                tensors[name] = value[:0]

    is_refused_or_usable(with_tensors(content, change))


@pytest.mark.parametrize("family", FAMILIES)
@FUZZ
@given(position=st.integers(0, 2**20), value=st.integers(0, 255), length=st.integers(1, 2**20))
def test_a_changed_byte_and_a_cut(family: str, position: int, value: int, length: int) -> None:
    content = bytearray(content_of(family))
    content[position % len(content)] = value
    is_refused_or_usable(bytes(content))
    is_refused_or_usable(bytes(content[: length % len(content)]))


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ('{"a":{"dtype":"F64","shape":[1000000000,1000000000],"data_offsets":[0,8]}}', "header"),
        ('{"a":{"dtype":"F64","shape":[18446744073709551615],"data_offsets":[0,8]}}', "header"),
        ("[" * 100_000 + "]" * 100_000, "header cannot be read"),
        ('{"__metadata__":{"metricwatch":"' + "[" * 100_000 + '"}}', "header cannot be read"),
        ('{"__metadata__":{"metricwatch":{}}}', "header cannot be read"),
        ('{"__metadata__":null}', "header cannot be read"),
    ],
)
def test_a_file_that_describes_what_it_has_not_is_refused_before_anything_is_made_of_it(
    described: str, message: str
) -> None:
    header = described.encode()
    with pytest.raises(ArtifactError, match=message):
        unpack(len(header).to_bytes(8, "little") + header + bytes(8))


@pytest.mark.parametrize("shape", [[10**9, 10**9], [2**62], [0, 2**62], [-1], [10**30]])
def test_a_shape_larger_than_the_file_is_refused(shape: list[int]) -> None:
    content = content_of("zscore")
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    name = next(one for one in header if one != "__metadata__")
    header[name]["shape"] = shape
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with pytest.raises(ArtifactError, match="tensor"):
        unpack(len(encoded).to_bytes(8, "little") + encoded + content[8 + length :])
