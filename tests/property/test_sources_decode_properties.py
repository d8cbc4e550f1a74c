"""Whatever a server sends, a reader gets arrays or an error with a sentence."""

from contextlib import suppress

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from metricwatch.series import Grid
from metricwatch.sources.decode import LabelOrder, decode_matrix, decode_vector
from metricwatch.sources.errors import SourceError

GRID = Grid(1_700_000_000, 60, 5)
PATIENT = settings(max_examples=300, deadline=None)

_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["NaN", "+Inf", "-Inf", "1e999", "0x1p3", "1_0", "", '"', "[]"])
)
_ANYTHING = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=12,
)
_TIMES = st.integers(GRID.start, GRID.end) | st.sampled_from([-1, 1e300, 0.5]) | _SCALARS
_SAMPLES = st.tuples(_TIMES, _SCALARS) | _ANYTHING
_SERIES = st.fixed_dictionaries(
    {},
    optional={
        "metric": st.dictionaries(st.text(max_size=4), st.text(max_size=4)) | _ANYTHING,
        "value": _SAMPLES,
        "values": st.lists(_SAMPLES, max_size=4) | _ANYTHING,
        "histogram": _ANYTHING,
    },
)
_ANSWERS = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(["success", "error"]) | _ANYTHING,
        "data": st.fixed_dictionaries(
            {},
            optional={
                "resultType": st.sampled_from(["vector", "matrix", "scalar", "string"]),
                "result": st.lists(_SERIES | _ANYTHING, max_size=4) | _ANYTHING,
            },
        )
        | _ANYTHING,
        "error": _ANYTHING,
        "isPartial": _ANYTHING,
    },
)
_GOOD = (
    b'{"status":"success","data":{"resultType":"vector","result":['
    b'{"metric":{"pod":"a"},"value":[1700000000,"1.5"]},'
    b'{"metric":{"pod":"b"},"value":[1700000000,"NaN"]}]}}'
)
_GOOD_RANGE = (
    b'{"status":"success","data":{"resultType":"matrix","result":['
    b'{"metric":{"pod":"a"},"values":[[1700000000,"1.5"],[1700000060,"2"]]},'
    b'{"metric":{"pod":"b"},"values":[[1700000000,"+Inf"]]}]}}'
)


def read(body: bytes) -> None:
    """What is no error is as many values as there are series."""
    with suppress(SourceError):
        vector = decode_vector(body)
        labels, positions = LabelOrder().arrange(vector.metrics)
        assert vector.values[positions].shape == (len(labels),)
    with suppress(SourceError):
        matrix = decode_matrix(body, GRID)
        labels, positions = LabelOrder().arrange(matrix.metrics)
        assert matrix.values[positions].shape == (len(labels), GRID.count)


@PATIENT
@given(_ANSWERS | _ANYTHING)
def test_any_json_gives_arrays_or_a_sentence(answer: object) -> None:
    read(msgspec.json.encode(answer))


@PATIENT
@given(
    st.sampled_from([_GOOD, _GOOD_RANGE]),
    st.integers(0, 200),
    st.integers(0, 8),
    st.binary(max_size=8) | st.sampled_from([b'"', b"[", b"]", b"null", b"1e400", b"\xff"]),
)
def test_a_good_answer_that_was_cut_or_damaged_gives_arrays_or_a_sentence(
    good: bytes, at: int, removed: int, put: bytes
) -> None:
    read(good[:at] + put + good[at + removed :])
    read(good[:at])


@PATIENT
@given(st.binary(max_size=200))
def test_any_bytes_give_a_sentence(body: bytes) -> None:
    read(body)
