"""What a server's answers say of its clock."""

import pytest

from metricwatch.sources.server_clock import ServerClock

NOON = 43_200.0
DATE = "Thu, 01 Jan 1970 12:00:00 GMT"


@pytest.mark.parametrize("ours", [NOON - 1.9, NOON, NOON + 0.9, NOON + 2.9])
def test_a_date_within_two_seconds_of_ours_is_believed_to_be_the_same(ours: float) -> None:
    assert not ServerClock().is_doubtful(DATE, sent=ours, received=ours)


@pytest.mark.parametrize("ours", [NOON - 2.1, NOON + 3.1, NOON + 300, 0.0])
def test_a_date_that_is_further_off_is_a_reason_to_ask(ours: float) -> None:
    assert ServerClock().is_doubtful(DATE, sent=ours, received=ours)


def test_a_slow_answer_says_only_that_the_date_is_of_some_moment_in_between() -> None:
    assert not ServerClock().is_doubtful(DATE, sent=NOON - 40, received=NOON + 40)
    assert ServerClock().is_doubtful(DATE, sent=NOON + 10, received=NOON + 40)


@pytest.mark.parametrize("date", [None, "", "yesterday", "32 Jan", "\x00"])
def test_without_a_usable_date_nothing_is_doubtful(date: str | None) -> None:
    assert not ServerClock().is_doubtful(date, sent=0.0, received=0.0)


@pytest.mark.parametrize(
    ("moment", "ahead"),
    [(1000.0, 0.0), (1001.9, 0.0), (998.3, 0.0), (1300.4, 300.0), (700.4, -300.0), (1004.0, 4.0)],
)
def test_the_time_that_the_server_says_counts_in_whole_seconds(
    moment: float, ahead: float
) -> None:
    clock = ServerClock()
    clock.hear(moment, sent=1000.0, received=1000.0)
    assert clock.ahead == ahead


def test_a_clock_that_is_known_to_differ_is_not_measured_again_and_again() -> None:
    clock = ServerClock()
    clock.hear(1300.4, sent=1000.0, received=1000.2)
    clock.hear(2301.9, sent=2000.0, received=2000.1)
    assert clock.ahead == 300.0
    assert not clock.is_doubtful(DATE, sent=NOON - 300, received=NOON - 300)


def test_when_both_agree_again_there_is_nothing_to_add() -> None:
    clock = ServerClock(ahead=300.0)
    assert clock.is_doubtful(DATE, sent=NOON, received=NOON)
    clock.hear(NOON + 0.4, sent=NOON, received=NOON + 0.1)
    assert clock.ahead == 0.0


def test_an_answer_that_took_long_is_no_measure() -> None:
    clock = ServerClock()
    clock.hear(1300.0, sent=1000.0, received=1011.0)
    assert clock.ahead == 0.0
