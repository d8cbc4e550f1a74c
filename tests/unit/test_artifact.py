"""Bytes of a model version: what goes in comes out, and nothing else is let in."""

import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from metricwatch.algorithms import FAMILIES, Bank
from metricwatch.algorithms.robust import value_step
from metricwatch.artifact import ArtifactError, ModelChunk, pack, sha256, unpack
from metricwatch.resources.algorithm import LstmParameters
from metricwatch.scoring import Scoring
from metricwatch.series import Grid, Labels

GRID = Grid(0, 600, 300)
SMALL = LstmParameters(hidden=3, epochs=1, segments=2, chunk_length=8, ridge_lags=4)


def make_labels(count: int) -> tuple[Labels, ...]:
    return tuple((("__name__", "up"), ("pod", f"ü-{number}")) for number in range(count))


def scoring_of(bank: Bank, values: NDArray[np.float64]) -> Scoring:
    teacher = FAMILIES[bank.family].restore(bank.header(), bank.tensors())
    evidence = teacher.backtest(GRID, values).evidence
    return Scoring.fit(bank.streams, evidence, GRID, value_step=value_step(values))


def make_chunk(family: str = "seasonal", *, series: int = 2, **changes: Any) -> ModelChunk:
    values = np.random.default_rng(0).standard_normal((series, GRID.count))
    labels = np.zeros(values.shape, dtype=np.bool_)
    labels[:, 100:110] = True
    bank = FAMILIES[family].fit(values, GRID, SMALL if family == "lstm" else None, labels=labels)
    parts: dict[str, Any] = {
        "watch_uid": "watch-1",
        "interval": 600,
        "labels": make_labels(series),
        "bank": bank,
        "scoring": scoring_of(bank, values),
    }
    return ModelChunk(**(parts | changes))


def rewritten(content: bytes, change: Any) -> bytes:
    """The same file with its metadata changed by `change`, a function of the decoded header."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    inner = json.loads(header["__metadata__"]["metricwatch"])
    change(inner)
    header["__metadata__"]["metricwatch"] = json.dumps(inner)
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    return len(encoded).to_bytes(8, "little") + encoded + content[8 + length :]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_chunk_scores_the_same_after_the_way_through_the_database(family: str) -> None:
    chunk = make_chunk(family)
    content = pack(chunk)
    again = unpack(content, checksum=sha256(content))
    assert (again.watch_uid, again.interval, again.family) == ("watch-1", 600, family)
    assert again.labels == chunk.labels
    grid = Grid(GRID.end + 600, 600, 40)
    values = np.random.default_rng(1).standard_normal((2, 40))
    header, tensors = chunk.bank.header(), chunk.bank.tensors()
    fresh = FAMILIES[family].restore(header, tensors)
    np.testing.assert_array_equal(
        again.bank.backtest(grid, values).expected, fresh.backtest(grid, values).expected
    )
    np.testing.assert_array_equal(again.scoring.reach(4.0)[:, -1], chunk.scoring.reach(4.0)[:, -1])


def test_the_same_chunk_gives_the_same_bytes() -> None:
    assert pack(make_chunk()) == pack(make_chunk())


def test_a_chunk_of_too_many_series_is_refused() -> None:
    with pytest.raises(ArtifactError, match="1 to 1000 series, not 1001"):
        pack(make_chunk("zscore", series=1001))


def test_parts_of_different_series_are_refused() -> None:
    with pytest.raises(ArtifactError, match="3 series and 0 systems are named, the bank has 2"):
        pack(make_chunk(labels=make_labels(3)))


def test_a_scoring_of_other_series_than_the_bank_is_refused() -> None:
    with pytest.raises(ArtifactError, match="2 of them are to be scored, the scoring has 3"):
        pack(make_chunk(scoring=make_chunk(series=3).scoring))


def test_content_that_was_changed_does_not_match_its_checksum() -> None:
    content = bytearray(pack(make_chunk()))
    checksum = sha256(bytes(content))
    content[-1] ^= 1
    with pytest.raises(ArtifactError, match="checksum"):
        unpack(bytes(content), checksum=checksum)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cut short"),
        (b"\x80\x04\x95 pickled", "cut short"),
        ((2**62).to_bytes(8, "little") + b"{}", "cut short"),
        ((2).to_bytes(8, "little") + b"{}", "header cannot be read"),
        ((8).to_bytes(8, "little") + b"[[[[[[[[", "header cannot be read"),
    ],
)
def test_what_is_no_artifact_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        unpack(content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header: header.update(format=1), "has format 1"),
        (lambda header: header.update(family="os.system"), "family 'os.system'"),
        (lambda header: header.update(interval=0), "every 0 seconds"),
        (
            lambda header: header.update(labels=header["labels"][:1]),
            "1 series and 0 systems are named",
        ),
        (lambda header: header.update(labels=[]), "holds 0 series"),
        (lambda header: header.update(surprise=1), "header cannot be read"),
        (lambda header: header["bank"].update(periods=[10**9] * 9), "at most 4"),
        (lambda header: header["bank"].update(step="1; rm"), "step is"),
        (lambda header: header["scoring"].update(step=0), "step is 0"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(change: Any, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        unpack(rewritten(pack(make_chunk()), change))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tensor_with_an_infinite_value_is_refused(family: str) -> None:
    chunk = make_chunk(family)
    name = next(iter(chunk.bank.tensors()))
    chunk.bank.tensors()[name].flat[0] = np.inf
    with pytest.raises(ArtifactError, match=f"tensor {name}"):
        unpack(pack(chunk))


def test_an_artifact_that_is_cut_short_is_refused() -> None:
    content = pack(make_chunk())
    for length in (len(content) - 1, len(content) // 2, 200, 7):
        with pytest.raises(ArtifactError):
            unpack(content[:length])


@settings(max_examples=200, deadline=None)
@given(position=st.integers(0, 10_000), value=st.integers(0, 255))
def test_one_wrong_byte_gives_an_error_or_a_usable_chunk(position: int, value: int) -> None:
    content = bytearray(_CONTENT)
    content[position % len(content)] = value
    try:
        chunk = unpack(bytes(content))
    except ArtifactError:
        return
    assert chunk.bank.step(600_000, np.zeros(2)).expected.shape == (2,)


_CONTENT = pack(make_chunk())


def test_the_header_is_json_that_anyone_can_read() -> None:
    length = int.from_bytes(_CONTENT[:8], "little")
    header = msgspec.json.decode(_CONTENT[8 : 8 + length])["__metadata__"]["metricwatch"]
    assert msgspec.json.decode(header)["family"] == "seasonal"
