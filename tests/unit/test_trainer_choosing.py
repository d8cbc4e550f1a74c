"""Which family a series gets when the model leaves the choice."""

from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest
from numpy.typing import NDArray

from metricwatch.algorithms import FAMILIES, Family
from metricwatch.algorithms.base import FitStopped
from metricwatch.resources.training import Scaling
from metricwatch.series import Grid, Panel
from metricwatch_trainer import choosing
from metricwatch_trainer.choosing import MARGIN, NETWORK_MARGIN, Choice, choose
from metricwatch_trainer.learning import Lesson
from metricwatch_trainer.preparation import Group, head_of

STEP = 300
Values = NDArray[np.float64]


def group_of(values: Values) -> Group:
    labels = tuple((("pod", str(row)),) for row in range(len(values)))
    panel = Panel(grid=Grid(0, STEP, values.shape[1]), labels=labels, values=values)
    return Group(panel=panel, head=head_of(values.shape[1]))


def lesson(name: str = "adaptiveThreshold") -> Lesson:
    return Lesson(
        family=FAMILIES[name], parameters=None, scaling=Scaling.ROBUST, seed=0, choose=True
    )


def resonance(series: int, ticks: int, *, seed: int = 0) -> Values:
    """Series that ring at a period of twelve samples: two weights know nearly everything."""
    noise = np.random.default_rng(seed).standard_normal((series, ticks))
    values = np.zeros((series, ticks))
    for tick in range(2, ticks):
        values[:, tick] = 1.72 * values[:, tick - 1] - 0.985 * values[:, tick - 2]
        values[:, tick] += noise[:, tick]
    return values


def chosen(group: Group, own: Lesson) -> tuple[Choice, ...]:
    return choose(group, own, progress=lambda _: None, should_stop=lambda: False)


@pytest.fixture
def contenders(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Only one cheap contender and no network, so that a contest is quick."""
    monkeypatch.setattr(choosing, "CHEAP", ("autoregressive",))
    monkeypatch.setattr(choosing, "NETWORKS", ())
    return monkeypatch


def worths(patch: pytest.MonkeyPatch, points: dict[str, float | Values]) -> list[tuple[str, int]]:
    """Lets families be worth what is said, for each row; returns who contended on how many."""
    contests: list[tuple[str, int]] = []

    def worth(self: object, own: Lesson, rows: NDArray[np.intp], should_stop: object) -> Values:
        del self, should_stop
        contests.append((own.family.name, len(rows)))
        value = points.get(own.family.name, 0.0)
        return np.broadcast_to(value, (1000,))[rows] if np.ndim(value) == 0 else value[rows]

    patch.setattr(choosing._Contest, "worth", worth)
    return contests


def test_a_linear_forecast_wins_where_the_next_sample_is_a_weighted_sum(
    contenders: pytest.MonkeyPatch,
) -> None:
    (choice,) = chosen(group_of(resonance(3, 1500)), lesson())
    assert choice.family.name == "autoregressive"
    assert choice.parameters is None
    assert choice.rows.tolist() == [0, 1, 2]
    assert all(gain is not None and gain >= MARGIN for gain in choice.gains)


def test_the_same_seed_chooses_the_same(contenders: pytest.MonkeyPatch) -> None:
    group = group_of(resonance(2, 900))
    one, other = (chosen(group, lesson())[0] for _ in range(2))
    assert one.family is other.family
    assert one.gains == other.gains


def test_who_stands_for_all_stays_where_nobody_beats_it(contenders: pytest.MonkeyPatch) -> None:
    (choice,) = chosen(group_of(resonance(2, 900)), lesson("autoregressive"))
    assert choice.family.name == "autoregressive"
    assert choice.gains == (0.0, 0.0)


def test_a_history_too_short_for_a_contest_gets_who_stands_for_all() -> None:
    own = lesson()
    (choice,) = chosen(group_of(resonance(2, 200)), own)
    assert choice.family is own.family
    assert choice.gains == (None, None)


def test_a_family_that_needs_a_longer_history_does_not_contend(
    contenders: pytest.MonkeyPatch,
) -> None:
    patient = replace(FAMILIES["autoregressive"], minimum_samples=lambda _: 10_000)
    contenders.setattr(choosing, "FAMILIES", dict(FAMILIES) | {"autoregressive": patient})
    contests = worths(contenders, {"autoregressive": 9.0})
    (choice,) = chosen(group_of(resonance(2, 900)), lesson())
    assert choice.family.name == "adaptiveThreshold"
    assert contests == [("adaptiveThreshold", 2)]


def test_every_series_gets_what_is_best_for_it_and_is_in_one_choice(
    contenders: pytest.MonkeyPatch,
) -> None:
    worths(contenders, {"autoregressive": np.array([0.5, 0.0, 0.5]), "adaptiveThreshold": 0.1})
    choices = chosen(group_of(resonance(3, 900)), lesson())
    told = {choice.family.name: choice for choice in choices}
    assert told["autoregressive"].rows.tolist() == [0, 2]
    assert told["autoregressive"].gains == (0.4, 0.4)
    assert told["adaptiveThreshold"].rows.tolist() == [1]
    assert told["adaptiveThreshold"].gains == (0.0,)


@pytest.mark.parametrize(("ahead", "wins"), [(MARGIN - 0.01, False), (MARGIN + 0.01, True)])
def test_a_family_wins_by_a_margin_only(
    contenders: pytest.MonkeyPatch, ahead: float, wins: bool
) -> None:
    worths(contenders, {"autoregressive": 0.3 + ahead, "adaptiveThreshold": 0.3})
    (choice,) = chosen(group_of(resonance(1, 900)), lesson())
    assert (choice.family.name == "autoregressive") is wins


def test_who_comes_later_has_to_beat_the_winner_so_far(contenders: pytest.MonkeyPatch) -> None:
    contenders.setattr(choosing, "CHEAP", ("autoregressive", "seasonal"))
    worths(contenders, {"autoregressive": 0.5, "seasonal": 0.5 + MARGIN / 2})
    (choice,) = chosen(group_of(resonance(1, 900)), lesson())
    assert choice.family.name == "autoregressive"


def quick_network(patch: pytest.MonkeyPatch) -> Family:
    """A family that stands for a network and needs no hours to be told from one."""
    network = replace(FAMILIES["autoregressive"], name="lstm", cheap=False)
    patch.setattr(choosing, "NETWORKS", ("lstm",))
    patch.setattr(choosing, "CHEAP", ())
    patch.setattr(choosing, "FAMILIES", MappingProxyType({**FAMILIES, "lstm": network}))
    return network


@pytest.mark.parametrize(
    ("ahead", "wins"), [(NETWORK_MARGIN - 0.01, False), (NETWORK_MARGIN + 0.01, True)]
)
def test_a_network_has_to_win_by_twice_the_margin(
    monkeypatch: pytest.MonkeyPatch, ahead: float, wins: bool
) -> None:
    network = quick_network(monkeypatch)
    worths(monkeypatch, {"lstm": ahead})
    (choice,) = chosen(group_of(resonance(2, 900)), lesson())
    assert (choice.family is network) is wins
    assert pytest.approx(2 * MARGIN) == NETWORK_MARGIN


def test_a_network_is_tried_on_a_sample_before_it_is_tried_on_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quick_network(monkeypatch)
    monkeypatch.setattr(choosing, "_SAMPLE", 4)
    for worth, tried in ((0.0, [4]), (1.0, [4, 9])):
        contests = worths(monkeypatch, {"lstm": worth})
        chosen(group_of(resonance(9, 900)), lesson())
        assert [count for name, count in contests if name == "lstm"] == tried


def test_a_network_that_wins_on_a_sample_is_judged_on_each_series(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = quick_network(monkeypatch)
    monkeypatch.setattr(choosing, "_SAMPLE", 4)
    points = np.where(np.arange(9) % 2 == 0, 1.0, 0.0)
    worths(monkeypatch, {"lstm": points})
    choices = chosen(group_of(resonance(9, 900)), lesson())
    (won,) = (choice for choice in choices if choice.family is network)
    assert won.rows.tolist() == [0, 2, 4, 6, 8]


def test_a_contest_that_is_to_stop_stops() -> None:
    with pytest.raises(FitStopped):
        choose(
            group_of(resonance(1, 900)),
            lesson("autoregressive"),
            progress=lambda _: None,
            should_stop=lambda: True,
        )


def test_labels_have_no_say(contenders: pytest.MonkeyPatch) -> None:
    plain = group_of(resonance(2, 900))
    flags = np.zeros(plain.panel.values.shape, np.bool_)
    flags[:, 700:800] = True
    labelled = replace(plain, labels=flags)
    assert chosen(plain, lesson())[0].gains == chosen(labelled, lesson())[0].gains


def test_missing_samples_and_constant_series_are_judged_like_others(
    contenders: pytest.MonkeyPatch,
) -> None:
    values = resonance(3, 900)
    values[0, 100:300] = np.nan
    values[1] = 7.0
    choices = chosen(group_of(values), lesson())
    assert sorted(row for choice in choices for row in choice.rows.tolist()) == [0, 1, 2]
    assert all(np.isfinite(gain) for choice in choices for gain in choice.gains)
