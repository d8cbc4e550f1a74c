"""Durations survive being written and read."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metricwatch.durations import DURATION_PATTERN, MAX_LENGTH, format_duration, parse_duration

CENTURY_MS = 90 * 365 * 86_400 * 1000


@given(st.integers(0, CENTURY_MS))
def test_any_number_of_milliseconds_can_be_written_and_read(milliseconds: int) -> None:
    text = format_duration(milliseconds / 1000)
    assert round(parse_duration(text) * 1000) == milliseconds


@given(st.from_regex(DURATION_PATTERN, fullmatch=True))
def test_whatever_the_pattern_allows_stays_within_prometheus_limit(text: str) -> None:
    if text:
        assert len(text) <= MAX_LENGTH
        assert 0 <= parse_duration(text) < 292 * 365 * 86_400


@given(st.text(alphabet="0123456789ywdhms \n", max_size=12))
def test_python_reads_exactly_what_the_pattern_allows(text: str) -> None:
    if text and re.fullmatch(DURATION_PATTERN, text):
        assert parse_duration(text) >= 0
    else:
        with pytest.raises(ValueError, match="is not a duration"):
            parse_duration(text)
