"""How long a watch waits, how much waits for the database, and what clocks do to ticks."""

import pytest

from metricwatch_detector.patience import pause_after
from metricwatch_detector.room import LEAST_TICKS, Room
from metricwatch_detector.schedule import Schedule


@pytest.mark.parametrize(
    ("failures", "interval", "seconds"),
    [(1, 60, 1.0), (2, 60, 2.0), (5, 60, 16.0), (7, 60, 60.0), (99, 3600, 60.0), (9, 1, 5.0)],
)
def test_a_pause_doubles_up_to_the_interval_within_five_seconds_and_a_minute(
    failures: int, interval: int, seconds: float
) -> None:
    assert pause_after(failures, interval=interval) == seconds


@pytest.mark.parametrize(
    ("wish", "seconds"), [(None, 1.0), (0.0, 1.0), (0.5, 1.0), (42.0, 42.0), (86_400.0, 300.0)]
)
def test_a_source_is_left_alone_as_long_as_it_asks_for_but_not_for_ever(
    wish: float | None, seconds: float
) -> None:
    assert pause_after(1, interval=60, wish=wish) == seconds


def test_all_watches_of_a_process_share_the_room_whatever_their_number() -> None:
    room = Room(most_values=100_000)
    room.take(1, series=80)
    assert room.ticks == 1000
    room.take(2, series=380)
    assert room.ticks == 200
    room.take(2, series=80)
    assert room.ticks == 500
    room.leave(1)
    room.leave(1)
    assert room.ticks == 1000


def test_many_small_watches_take_room_for_their_ticks_as_well() -> None:
    room = Room(most_values=1_000_000)
    for watch in range(500):
        room.take(watch, series=1)
    # 500 times 95 ticks are 47,500 objects of 1.5 KB: 70 MiB, as one large watch takes.
    assert room.ticks == 1_000_000 // (500 * 21)


def test_an_hour_of_minutes_is_kept_however_many_series_there_are() -> None:
    room = Room()
    room.take(1, series=100_000)
    assert room.ticks == LEAST_TICKS


def test_ticks_are_times_of_the_source_whose_clock_is_elsewhere() -> None:
    schedule = Schedule(60, delay=5, ahead=-300.0)
    assert schedule.newest_due(1000.0) == 660
    assert schedule.due_at(660) == 965.0
    assert schedule.late_before(1000.0) == 540
    assert schedule.start(now=1000.0, decided_until=None) == 660


@pytest.mark.parametrize(("tick", "is_far"), [(1020, False), (1080, False), (1140, True)])
def test_a_tick_further_off_than_the_next_one_is_from_another_time(
    tick: int, is_far: bool
) -> None:
    assert Schedule(60, delay=5).is_from_the_future(tick, 1025.0) is is_far


def test_clocks_that_differ_are_remarked_upon_and_others_are_not() -> None:
    assert Schedule(60).remark() == ""
    assert Schedule(60, ahead=240.0).remark().startswith("this clock is 240 s behind the source's")
    assert "180 s ahead of the source's" in Schedule(60, ahead=-180.0).remark()
