"""Answers of the Prometheus API as arrays: the fast way gives what a JSON parser gives."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metricwatch.series import Grid, labels_from
from metricwatch.sources.decode import LabelOrder, decode_matrix, decode_vector
from metricwatch.sources.errors import (
    SourceError,
    SourceMalformed,
    SourceRefused,
    SourceUnavailable,
)

GRID = Grid(start=600, step=60, count=4)


def answer(result_type: str, result: Any, **more: Any) -> bytes:
    data = {"resultType": result_type, "result": result}
    return json.dumps({"status": "success", "data": data, **more}).encode()


def vector(*values: str) -> bytes:
    return answer(
        "vector",
        [{"metric": {"pod": str(n)}, "value": [600.123, v]} for n, v in enumerate(values)],
    )


def matrix(*series: dict[int, str]) -> bytes:
    return answer(
        "matrix",
        [
            {"metric": {"pod": str(n)}, "values": [[t, v] for t, v in one.items()]}
            for n, one in enumerate(series)
        ],
    )


def test_the_values_of_an_instant_query_are_numbers() -> None:
    decoded = decode_vector(vector("1", "-2.5e-3", "123456789012345678", "0"))
    assert decoded.values.tolist() == [1.0, -0.0025, 123456789012345678.0, 0.0]
    assert [json.loads(metric) for metric in decoded.metrics][3] == {"pod": "3"}


def test_what_is_no_finite_number_is_no_sample() -> None:
    decoded = decode_vector(vector("NaN", "7", "+Inf", "-Inf"))
    assert np.isnan(decoded.values).tolist() == [True, False, True, True]
    assert decoded.values[1] == 7


def test_the_largest_float_written_out_in_digits_is_read() -> None:
    largest = np.finfo(np.float64).max
    assert decode_vector(vector(f"{largest:.0f}")).values[0] == largest


def test_a_scalar_is_one_series_without_labels() -> None:
    decoded = decode_vector(answer("scalar", [600.5, "3"]))
    assert (decoded.metrics, decoded.values.tolist()) == ([b"{}"], [3.0])


def test_an_answer_without_series_is_empty() -> None:
    assert decode_vector(vector()).values.shape == (0,)
    assert decode_matrix(matrix(), GRID).values.shape == (0, 4)


def test_a_range_is_laid_on_its_grid_with_gaps_where_samples_are_missing() -> None:
    decoded = decode_matrix(matrix({600: "1", 780: "4"}, {}, {660: "NaN", 720: "2"}), GRID)
    expected = [[1, np.nan, np.nan, 4], [np.nan] * 4, [np.nan, np.nan, 2, np.nan]]
    np.testing.assert_array_equal(decoded.values, expected)


@given(
    st.lists(
        st.dictionaries(
            st.integers(0, 99),
            st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.just(np.nan)),
            max_size=20,
        ),
        max_size=8,
    )
)
def test_any_answer_is_read_as_a_json_parser_reads_it(series: list[dict[int, float]]) -> None:
    grid = Grid(start=0, step=15, count=100)
    words = [{15 * t: "NaN" if np.isnan(v) else repr(v) for t, v in one.items()} for one in series]
    expected = np.full((len(series), 100), np.nan)
    for row, one in enumerate(series):
        for tick, value in one.items():
            expected[row, tick] = value
    np.testing.assert_array_equal(decode_matrix(matrix(*words), grid).values, expected)


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b"<html>login</html>", SourceMalformed, "check the url"),
        (b'{"status":"success"', SourceMalformed, "check the url"),
        (b"\xff\xfe", SourceMalformed, "check the url"),
        (b'{"status":"error","error":"bad thing"}', SourceRefused, "bad thing"),
        (answer("string", [1, "a"]), SourceRefused, "string"),
        (answer("matrix", []), SourceRefused, "rate"),
        (answer("streams", []), SourceMalformed, "streams"),
        (vector("twelve"), SourceMalformed, "not a number"),
        (answer("vector", [{"metric": {}}]), SourceMalformed, "one value"),
        (answer("vector", [{"metric": {}, "value": [1]}]), SourceMalformed, "pairs"),
        (answer("vector", {"metric": {}}), SourceMalformed, "malformed"),
        (answer("vector", [], isPartial=True), SourceUnavailable, "partly"),
        (
            answer("vector", [{"metric": {}, "histogram": [1, {"count": "1"}]}]),
            SourceRefused,
            "histogram_quantile",
        ),
    ],
)
def test_an_answer_that_is_none_says_what_to_do(
    body: bytes, kind: type[SourceError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        decode_vector(body)


@pytest.mark.parametrize("time", [599, 630, 840, 10**12])
def test_a_sample_at_a_time_that_was_not_asked_for_is_refused(time: int) -> None:
    with pytest.raises(SourceMalformed, match="other times"):
        decode_matrix(matrix({time: "1"}), GRID)


def test_a_range_with_native_histograms_or_without_pairs_is_refused() -> None:
    histogram = [{"metric": {}, "histograms": [[600, {"count": "1"}]]}]
    with pytest.raises(SourceRefused, match="histogram"):
        decode_matrix(answer("matrix", histogram), GRID)
    with pytest.raises(SourceMalformed, match="pairs"):
        decode_matrix(answer("matrix", [{"metric": {}, "values": [[600, "1", "2"]]}]), GRID)
    with pytest.raises(SourceMalformed, match="vector"):
        decode_matrix(answer("vector", []), GRID)


def metrics(*pods: str) -> list[bytes]:
    return [json.dumps({"pod": pod}).encode() for pod in pods]


def test_series_come_in_label_order_whatever_order_the_server_has() -> None:
    order = LabelOrder()
    labels, positions = order.arrange(metrics("c", "a", "b"))
    assert labels == tuple(labels_from({"pod": pod}) for pod in "abc")
    assert positions.tolist() == [1, 2, 0]
    again, positions = order.arrange(metrics("b", "c", "a"))
    assert again is labels
    assert positions.tolist() == [2, 0, 1]


def test_a_series_that_comes_or_goes_changes_the_order() -> None:
    order = LabelOrder()
    order.arrange(metrics("a", "b"))
    for pods in ("abc", "bc", "bd", ""):
        labels, positions = order.arrange(metrics(*pods))
        assert labels == tuple(labels_from({"pod": pod}) for pod in sorted(pods))
        assert positions.tolist() == list(range(len(pods)))


def test_of_many_series_the_first_by_label_order_are_kept_at_every_tick() -> None:
    order = LabelOrder(limit=2)
    for pods in ("cab", "bca"):
        labels, positions = order.arrange(metrics(*pods))
        assert labels == tuple(labels_from({"pod": pod}) for pod in "ab")
        assert [pods[position] for position in positions] == ["a", "b"]


def test_two_series_with_the_same_labels_are_the_querys_fault() -> None:
    twice = [b'{"a":"1","b":"2"}', b'{"b":"2","a":"1"}']
    with pytest.raises(SourceRefused, match="aggregate"):
        LabelOrder().arrange(twice)
    with pytest.raises(SourceRefused, match="aggregate"):
        LabelOrder().arrange([twice[0]] * 2)


def test_labels_may_have_so_many_bytes_and_not_one_more() -> None:
    def metric(size: int) -> bytes:
        return b'{"pod":"' + b"x" * (size - 10) + b'"}'

    (labels,), _ = LabelOrder().arrange([metric(8192)])
    assert len(labels[0][1]) == 8182
    with pytest.raises(SourceRefused, match="8193 bytes, more than the 8192 that are kept"):
        LabelOrder().arrange([metric(8193)])


def test_labels_that_are_no_object_of_strings_are_malformed() -> None:
    with pytest.raises(SourceMalformed, match="labels"):
        LabelOrder().arrange([b'{"a":1}'])
