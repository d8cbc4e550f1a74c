"""The parts of the store that need no database."""

import struct

import numpy as np
import pytest

from metricwatch.store.connection import decode_jsonb, encode_jsonb
from metricwatch.store.errors import SchemaMismatch
from metricwatch.store.health import present_sharding
from metricwatch.store.partitions import partition_name
from metricwatch.store.rows import HealthState, Slice, WatchHealth
from metricwatch.store.schema import require_revision
from metricwatch.store.scores import Scores


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (None, "has no schema yet and this release needs 0003: run `metricwatch migrate`"),
        ("0002", "has schema 0002 and this release needs 0003: run `metricwatch migrate`"),
        ("0004", "has schema 0004, newer than 0003 of this release: upgrade the image"),
    ],
)
def test_a_schema_of_another_release_is_refused_with_what_to_do(
    found: str | None, message: str
) -> None:
    with pytest.raises(SchemaMismatch) as caught:
        require_revision(found, expected="0003")
    assert message in str(caught.value)


@pytest.mark.parametrize("text", ["", "a\x00b", "\\u0000", "\\\x00", "\\\\u0000\x00\x00ü"])
def test_jsonb_loses_nothing_but_nul(text: str) -> None:
    encoded = encode_jsonb({"key": text})
    assert encoded[:1] == b"\x01"
    assert decode_jsonb(encoded) == {"key": text.replace("\x00", "\ufffd")}


def test_scores_have_the_layout_that_postgresql_documents() -> None:
    content = Scores([7], 946_684_801, 1.5, 2.0, -1.0, 4.0, 3.0, 0.5, True).encode()
    signature, flags, extension = struct.unpack_from(">11sii", content)
    assert (signature, flags, extension) == (b"PGCOPY\n\xff\r\n\0", 0, 0)
    fields = struct.unpack_from(">h" + "iq" * 2 + "id" * 6 + "i?" + "h", content, 19)
    assert fields == (
        *(9, 8, 7, 8, 1_000_000),
        *(8, 1.5, 8, 2.0, 8, -1.0, 8, 4.0, 8, 3.0, 8, 0.5),
        *(1, True, -1),
    )
    assert len(content) == 19 + struct.calcsize(">h" + "iq" * 2 + "id" * 6 + "i?" + "h")


def test_scores_know_their_days() -> None:
    scores = Scores([1, 1, 1], [86_399, 86_400, -1], 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, False)
    assert scores.days == {-1, 0, 1}
    assert partition_name(0) == "prediction_errors_19700101"


def test_what_real_cannot_hold_is_cut_and_nan_stays() -> None:
    scores = Scores([1, 1], 0, 1.0, 1.0, 1.0, 1.0, [np.inf, np.nan], [-np.inf, 1e39], False)
    whole = np.frombuffer(scores.encode()[19:-2], np.uint8).reshape(2, -1)
    rarity = whole[:, 2 + 2 * 12 + 4 * 12 + 4 :][:, :8].copy().view(">f8").ravel()
    score = whole[:, 2 + 2 * 12 + 5 * 12 + 4 :][:, :8].copy().view(">f8").ravel()
    np.testing.assert_array_equal(rarity, [3e38, np.nan])
    np.testing.assert_array_equal(score, [-3e38, 3e38])


def make_health(version: int, shards: int, shard: int, updated_at: int) -> WatchHealth:
    return WatchHealth(
        watch_id=1,
        version=version,
        part=Slice(shards, shard),
        state=HealthState.SCORING,
        updated_at=updated_at,
    )


def test_of_each_version_only_the_sharding_heard_of_last_is_present() -> None:
    old = make_health(1, 1, 0, 10)
    new = [make_health(1, 2, 1, 20), make_health(1, 2, 0, 5)]
    other = make_health(2, 1, 0, 1)
    assert present_sharding([old, *new, other]) == (other, new[1], new[0])
    assert present_sharding([]) == ()
