"""The search for parameters, with Optuna itself and judges that cost nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import InMemoryStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend

from metricwatch.algorithms import FitStopped
from metricwatch.algorithms.autoregressive import AUTOREGRESSIVE
from metricwatch.algorithms.base import Suggest
from metricwatch.resources import AutoregressiveParameters
from metricwatch.resources.schema import ApiModel
from metricwatch_trainer.tuning import Terms, Tuned, tune


def search(suggest: Suggest) -> ApiModel:
    return AutoregressiveParameters(lags=suggest.suggest_int("lags", 1, 64))


FAMILY = replace(AUTOREGRESSIVE, search=search)
BEST = 40


@dataclass
class Peak:
    """Parameters are worth more the nearer `lags` is to 40; every part says the same."""

    parts: int = 3
    tried: list[int] = field(default_factory=list)
    judged: int = 0
    on_try: Callable[[int], None] = lambda _: None
    gain: float = 1.0

    def worth(self, parameters: ApiModel | None) -> float:
        given = parameters or AutoregressiveParameters()
        assert isinstance(given, AutoregressiveParameters)
        return -self.gain * abs(given.lags - BEST) / 64

    def steps(
        self, parameters: ApiModel | None, *, should_stop: Callable[[], bool]
    ) -> Iterator[float]:
        assert isinstance(parameters, AutoregressiveParameters)
        self.tried.append(parameters.lags)
        self.on_try(len(self.tried))
        for _ in range(self.parts):
            if should_stop():
                raise FitStopped
            self.judged += 1
            yield self.worth(parameters)

    def confirm(self, parameters: ApiModel | None, *, should_stop: Callable[[], bool]) -> float:
        return self.worth(parameters)


def make_terms(storage: Any = None, **changes: Any) -> Terms:
    terms = Terms(name="study", storage=storage, trials=25, seconds=60.0, seed=1)
    return replace(terms, **changes)


def run(judge: Peak, terms: Terms, *, asked: ApiModel | None = None, **more: Any) -> Tuned:
    return tune(FAMILY, judge, terms, asked=asked, should_stop=lambda: False, **more)


def lags_of(parameters: ApiModel | None) -> int:
    assert isinstance(parameters, AutoregressiveParameters)
    return parameters.lags


def test_a_search_finds_parameters_that_are_worth_more() -> None:
    tuned = run(Peak(), make_terms())
    assert tuned.is_better
    assert abs(lags_of(tuned.parameters) - BEST) <= 4
    assert tuned.gain == pytest.approx((tuned.best or 0) - (tuned.baseline or 0))
    assert tuned.summary()["parameters"]["lags"] == lags_of(tuned.parameters)


def test_no_more_trials_are_made_than_were_asked_for() -> None:
    judge = Peak()
    tuned = run(judge, make_terms(trials=7))
    assert len(judge.tried) == sum(tuned.trials.values()) == 7


def test_the_same_seed_tries_the_same() -> None:
    first, second, other = Peak(), Peak(), Peak()
    run(first, make_terms())
    run(second, make_terms())
    run(other, make_terms(seed=2))
    assert first.tried == second.tried
    assert first.tried != other.tried


def test_a_trial_that_falls_behind_is_not_judged_to_its_end() -> None:
    judge = Peak(parts=6)
    tuned = run(judge, make_terms())
    assert tuned.trials["pruned"] > 0
    assert judge.judged < 6 * 25


def test_a_gain_below_the_margin_changes_nothing() -> None:
    asked = AutoregressiveParameters(lags=32)
    tuned = run(Peak(gain=0.05), make_terms(), asked=asked)
    assert not tuned.is_better
    assert tuned.parameters is asked
    assert "what the model asks for stays" in tuned.why
    assert "parameters" not in tuned.summary()


def test_what_the_space_does_not_name_stays_as_the_model_asks() -> None:
    asked = AutoregressiveParameters(lags=1, ridge=7.0)
    tuned = run(Peak(), make_terms(), asked=asked)
    assert isinstance(tuned.parameters, AutoregressiveParameters)
    assert tuned.parameters.ridge == 7.0


def test_a_search_that_was_cut_off_goes_on_with_what_was_tried(tmp_path: Path) -> None:
    def cut_off(number: int) -> None:
        if number == 5:
            raise KeyboardInterrupt

    path = str(tmp_path / "trials.log")
    first = Peak(on_try=cut_off)
    with pytest.raises(KeyboardInterrupt):
        run(first, make_terms(JournalStorage(JournalFileBackend(path)), trials=12))
    second = Peak()
    tuned = run(second, make_terms(JournalStorage(JournalFileBackend(path)), trials=12))
    # The fifth was under way and is made up for.
    assert len(second.tried) == 8
    assert tuned.trials["complete"] + tuned.trials["pruned"] == 12
    assert tuned.trials["failed"] == 1


def test_a_search_that_goes_on_does_not_draw_again_what_it_drew() -> None:
    storage = InMemoryStorage()
    first, second = Peak(), Peak()
    run(first, make_terms(storage, trials=4))
    run(second, make_terms(storage, trials=8))
    assert first.tried != second.tried


def test_a_finished_search_only_tells_its_result_again() -> None:
    storage, judge = InMemoryStorage(), Peak()
    before = run(judge, make_terms(storage))
    again = run(Peak(on_try=lambda _: pytest.fail("tried again")), make_terms(storage))
    assert again == before


def test_no_trial_begins_after_the_time_is_up() -> None:
    seconds = iter(range(1000))
    judge = Peak(parts=1)
    tuned = run(judge, make_terms(trials=500, seconds=40), clock=lambda: float(next(seconds)))
    assert 0 < len(judge.tried) < 40
    assert tuned.trials["failed"] == 1  # the one that was under way
    assert tuned.best is not None


def test_without_any_time_the_model_stays_as_it_is() -> None:
    asked = AutoregressiveParameters()
    tuned = run(Peak(), make_terms(seconds=0), asked=asked)
    assert (tuned.parameters, tuned.gain) == (asked, None)
    assert "tuning.timeout" in tuned.why


def test_being_stopped_ends_the_search_and_keeps_its_trials() -> None:
    storage, stopping = InMemoryStorage(), threading.Event()
    judge = Peak(on_try=lambda number: stopping.set() if number == 4 else None)
    with pytest.raises(FitStopped):
        tune(FAMILY, judge, make_terms(storage), asked=None, should_stop=stopping.is_set)
    resumed = Peak()
    run(resumed, make_terms(storage))
    assert len(resumed.tried) == 25 - 3


def test_parameters_that_break_a_fit_are_passed_over() -> None:
    @dataclass
    class Fragile(Peak):
        def steps(
            self, parameters: ApiModel | None, *, should_stop: Callable[[], bool]
        ) -> Iterator[float]:
            if lags_of(parameters) % 2:
                raise ValueError("no fit")
            yield from Peak.steps(self, parameters, should_stop=should_stop)

    tuned = run(Fragile(), make_terms())
    assert tuned.trials["failed"] > 0
    assert lags_of(tuned.parameters) % 2 == 0


def test_a_search_in_which_everything_fails_changes_nothing() -> None:
    def fail(number: int) -> None:
        raise ValueError("no fit")

    asked = AutoregressiveParameters()
    tuned = run(Peak(on_try=fail), make_terms(trials=3), asked=asked)
    assert (tuned.parameters, tuned.trials["failed"]) == (asked, 3)
    assert tuned.why == "every trial failed"


def test_threads_share_the_trials() -> None:
    judge = Peak()
    tuned = run(judge, make_terms(jobs=2, trials=10))
    assert len(judge.tried) == sum(tuned.trials.values()) == 10


def test_a_family_without_a_space_has_nothing_to_search() -> None:
    with pytest.raises(ValueError, match="no parameters to search"):
        tune(
            replace(AUTOREGRESSIVE, search=None),
            Peak(),
            make_terms(),
            asked=None,
            should_stop=lambda: False,
        )
