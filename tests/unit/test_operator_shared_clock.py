"""The operator's clock, put right by the database's."""

from datetime import UTC, datetime

from metricwatch.store.errors import StoreUnavailable
from metricwatch_operator.shared_clock import SharedClock


class Clocks:
    """A database's clock and ours, and how often ours was put right."""

    def __init__(self, *, database: int, own: float) -> None:
        self.database, self.own = database, own
        self.is_away, self.changes = False, 0
        self.shared = SharedClock(self.read, changed=self.changed, own=lambda: self.own)

    async def read(self) -> int:
        if self.is_away:
            raise StoreUnavailable("nobody there")
        return self.database

    def changed(self) -> None:
        self.changes += 1

    def seconds(self) -> float:
        return self.shared.now().timestamp()


async def test_clocks_that_agree_are_left_alone() -> None:
    clocks = Clocks(database=1000, own=1001.5)
    await clocks.shared.look()
    assert (clocks.seconds(), clocks.changes) == (1001.5, 0)
    assert clocks.shared.now() == datetime.fromtimestamp(1001.5, UTC)


async def test_one_that_is_minutes_off_is_put_right_once_and_models_are_looked_at() -> None:
    clocks = Clocks(database=1000, own=1300.0)
    await clocks.shared.look()
    clocks.database, clocks.own = 1015, 1315.2
    await clocks.shared.look()
    assert abs(clocks.seconds() - 1015) <= 2
    assert clocks.changes == 1


async def test_one_that_was_set_back_to_the_true_time_is_believed_again() -> None:
    clocks = Clocks(database=1000, own=1300.0)
    await clocks.shared.look()
    clocks.own = 1000.4
    await clocks.shared.look()
    assert (clocks.seconds(), clocks.changes) == (1000.4, 2)


async def test_while_the_database_is_away_what_was_known_last_holds() -> None:
    clocks = Clocks(database=1000, own=700.0)
    await clocks.shared.look()
    clocks.is_away, clocks.own = True, 760.0
    await clocks.shared.look()
    assert abs(clocks.seconds() - 1060) <= 2
