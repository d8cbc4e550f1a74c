import pytest
from pydantic import TypeAdapter, ValidationError

from metricwatch.durations import Duration, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("0s", 0),
        ("90s", 90),
        ("5m", 300),
        ("1h30m", 5400),
        ("2w", 1_209_600),
        ("1y", 31_536_000),
        ("1500ms", 1.5),
        ("1s5ms", 1.005),
        ("1y2w3d4h5m6s7ms", 31_536_000 + 1_209_600 + 259_200 + 14_400 + 300 + 6.007),
    ],
)
def test_a_prometheus_duration_has_its_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "5", "s", "-5m", "1.5h", "5 m", "1m1h", "1h1h", "5M", "5m\n", "100y", "٣m"]
)
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write it like 90s, 5m, 1h30m or 2w"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.25, "250ms"),
        (90, "1m30s"),
        (86_400, "1d"),
        (14 * 86_400, "2w"),
        (10 * 86_400, "10d"),
        (365 * 86_400, "1y"),
        (10_001 * 86_400, "27y146d"),
    ],
)
def test_seconds_are_written_as_people_would(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), 1e12])
def test_seconds_that_are_no_duration_are_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="cannot be written as a duration"):
        format_duration(seconds)


def test_a_duration_keeps_the_way_it_was_written() -> None:
    duration = TypeAdapter(Duration).validate_json('"60s"', strict=True)
    assert duration == "60s"
    assert duration.seconds == 60
    assert TypeAdapter(Duration).dump_json(duration) == b'"60s"'


def test_a_number_is_no_duration() -> None:
    with pytest.raises(ValidationError, match="valid string"):
        TypeAdapter(Duration).validate_json("60", strict=True)


def test_a_duration_is_made_from_seconds() -> None:
    assert Duration.from_seconds(5400) == "1h30m"
