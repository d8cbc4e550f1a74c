"""A search in several processes, with Optuna itself and storages in memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.trial import TrialState
from tests.unit.test_trainer_tuning import Peak, lags_of, make_terms, run

from metricwatch_trainer.teamwork import Team, give_up_orphans, retry, work_together

NEVER: Callable[[], bool] = lambda: False  # noqa: E731


def make_study(**kept: Any) -> optuna.Study:
    return optuna.create_study(direction="maximize", **kept)


def states(study: optuna.Study) -> list[TrialState]:
    return [trial.state for trial in study.trials]


def ended(storage: InMemoryStorage) -> int:
    study = optuna.load_study(study_name="study", storage=storage)
    return sum(one in (TrialState.COMPLETE, TrialState.PRUNED) for one in states(study))


def test_a_team_tries_as_many_as_were_asked_for_together() -> None:
    storage, judges = (
        InMemoryStorage(),
        [Peak(on_try=lambda _: time.sleep(0.02)) for _ in range(3)],
    )
    threads = [
        threading.Thread(
            target=run,
            args=(judge, make_terms(storage, trials=20, team=Team(3, number))),
            kwargs={"wait": lambda _: time.sleep(0.01)},
        )
        for number, judge in enumerate(judges)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    tried = [len(judge.tried) for judge in judges]
    assert 20 <= sum(tried) == ended(storage) <= 22
    assert min(tried) > 0


def test_two_of_a_team_do_not_draw_the_same() -> None:
    first, second = Peak(), Peak()
    run(first, make_terms(InMemoryStorage(), trials=6, team=Team(2, 0)))
    run(second, make_terms(InMemoryStorage(), trials=6, team=Team(2, 1)))
    assert first.tried != second.tried


def test_who_comes_late_only_tells_the_result() -> None:
    storage, late = InMemoryStorage(), Peak(on_try=lambda _: pytest.fail("tried again"))
    before = run(Peak(), make_terms(storage, team=Team(2, 0)))
    after = run(late, make_terms(storage, team=Team(2, 1)))
    assert lags_of(after.parameters) == lags_of(before.parameters)


def test_a_trial_that_was_killed_is_tried_again_with_its_parameters() -> None:
    study = make_study()
    lags = study.ask().suggest_int("lags", 1, 64)
    give_up_orphans(study)
    assert states(study) == [TrialState.FAIL, TrialState.WAITING]
    assert study.ask().suggest_int("lags", 1, 64) == lags


def test_a_trial_that_kills_whoever_tries_it_is_given_up() -> None:
    study = make_study()
    for _ in range(5):
        study.ask()
        give_up_orphans(study)
    killed = [one.system_attrs.get("retry_history", []) for one in study.trials]
    assert max(map(len, killed)) == 2


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_trials_of_others_are_waited_for_and_taken_over_when_they_fall_silent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    storage = RDBStorage(
        f"sqlite:///{tmp_path}/trials.db",
        heartbeat_interval=1,
        grace_period=1,
        heartbeat_stale_trial_callback=retry(),
    )
    study = make_study(storage=storage)
    silent = study.ask()
    lags = silent.suggest_int("lags", 1, 64)
    storage.record_heartbeat(silent._trial_id)
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        time.sleep(1.1)

    tried: list[int] = []

    def try_one() -> None:
        study.optimize(lambda trial: tried.append(trial.suggest_int("lags", 1, 64)) or 1.0, 1)

    work_together(study, trials=1, try_one=try_one, is_over=NEVER, wait=wait)
    assert tried == [lags]
    assert waits
    assert states(study) == [TrialState.FAIL, TrialState.COMPLETE]


def test_nobody_waits_longer_than_there_is_time() -> None:
    study = make_study()
    study.ask()
    left = iter([False, False, False, True])
    waits: list[float] = []
    work_together(
        study,
        trials=1,
        try_one=lambda: pytest.fail("there is nothing to try"),
        is_over=lambda: next(left),
        wait=waits.append,
    )
    assert len(waits) == 3


def test_a_search_whose_every_trial_fails_comes_to_an_end() -> None:
    study = make_study()

    def fail() -> None:
        study.tell(study.ask(), state=TrialState.FAIL)

    work_together(study, trials=4, try_one=fail, is_over=NEVER, wait=lambda _: None)
    assert states(study) == [TrialState.FAIL] * 4


def test_what_was_best_before_is_tried_first() -> None:
    judge = Peak()
    tuned = run(judge, make_terms(trials=5, first={"lags": 40, "gone": 3}))
    assert judge.tried[0] == 40
    assert tuned.found == {"lags": 40}
    assert tuned.summary()["found"] == {"lags": 40}


def test_what_was_best_before_is_tried_once(caplog: pytest.LogCaptureFixture) -> None:
    storage, first, second = InMemoryStorage(), Peak(), Peak()
    run(first, make_terms(storage, trials=3, first={"lags": 40}))
    run(second, make_terms(storage, trials=6, first={"lags": 40}))
    assert first.tried[0] == 40
    assert len(first.tried + second.tried) == 6
