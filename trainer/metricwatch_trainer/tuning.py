"""The search for parameters: Optuna's trials over a family's own search space.

A tree-structured Parzen estimator suggests (Bergstra et al., "Algorithms for Hyper-Parameter
Optimization", NeurIPS 2011), a median rule gives up on a trial that is worse after so many parts
than half of those before it. Trials are kept in a storage as they end, so a search that was cut
off goes on where it stood: what was tried is not tried again, and counts.

A search changes nothing unless it gains something: on the fold that took no part in it, what it
found must beat what the model asks for by a margin.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from metricwatch.algorithms import Family, FitStopped
from metricwatch.resources.schema import ApiModel
from metricwatch_trainer.teamwork import ALONE, Team, give_up_orphans, work_together

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

MARGIN = 0.02
"""A smaller gain is noise: of some 500 made-up anomalies it is ten more that are found."""
_STARTING_TRIALS = 8
_UNPRUNED_TRIALS = 4
_APART = 1_000_003
"""Seeds of two processes never meet, however many trials there are."""


class Judge(Protocol):
    """What says how good parameters are; `metricwatch_trainer.tuning_objective.Objective`."""

    def steps(
        self, parameters: ApiModel | None, *, should_stop: Callable[[], bool]
    ) -> Iterator[float]:
        """Yields the mean worth after each part, more is better."""
        ...

    def confirm(self, parameters: ApiModel | None, *, should_stop: Callable[[], bool]) -> float:
        """Returns the worth on history that takes no part in the search."""
        ...


@dataclass(frozen=True, slots=True)
class Terms:
    """How hard and how long to search.

    Attributes:
        name: of the study; the same name goes on with an earlier search.
        storage: where trials are kept: one of Optuna's, its URL, or None for memory alone.
        trials: most parameter sets that are tried, those of an earlier search included.
        seconds: after so many no new trial begins, and the one under way is given up.
        seed: the same seed, history and number of jobs give the same search.
        jobs: trials at the same time, in threads.
        team: the processes that search together.
        first: parameters that are tried before any others, by their names in the search space:
            what was best for an earlier version.
    """

    name: str
    storage: BaseStorage | str | None
    trials: int
    seconds: float
    seed: int
    jobs: int = 1
    team: Team = ALONE
    first: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Tuned:
    """What a search brought.

    Attributes:
        parameters: what to learn with: those found, or those that the model asked for.
        is_better: whether they are what was found.
        why: a sentence for people.
        trials: that ended, by state: complete, pruned, failed.
        baseline: worth of what the model asked for, on the fold that confirms.
        best: worth of what was found, there; None when no trial was completed.
        found: the parameters of the best trial, by their names in the search space.
    """

    parameters: ApiModel | None
    is_better: bool
    why: str
    trials: dict[str, int] = field(default_factory=dict)
    baseline: float | None = None
    best: float | None = None
    found: Mapping[str, Any] | None = None

    @property
    def gain(self) -> float | None:
        """How much better the best is than the baseline."""
        if self.best is None or self.baseline is None:
            return None
        return self.best - self.baseline

    def summary(self) -> dict[str, Any]:
        """Returns what a report says of it, as JSON values."""
        found: dict[str, Any] = {"why": self.why, "isBetter": self.is_better} | self.trials
        numbers = {"baseline": self.baseline, "best": self.best, "gain": self.gain}
        found |= {name: round(one, 4) for name, one in numbers.items() if one is not None}
        if self.is_better and self.parameters is not None:
            found["parameters"] = self.parameters.to_manifest()
        if self.found is not None:
            found["found"] = dict(self.found)
        return found


def tune(
    family: Family,
    judge: Judge,
    terms: Terms,
    *,
    asked: ApiModel | None,
    should_stop: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
    wait: Callable[[float], None] = time.sleep,
) -> Tuned:
    """Returns the parameters to learn with.

    Args:
        family: has a `search`.
        judge: says how good parameters are.
        terms: how hard and how long.
        asked: the model's own block. What the search space does not name stays as it says.
        should_stop: asked while fitting.
        clock: monotonic seconds.
        wait: for seconds.

    Raises:
        FitStopped: `should_stop` returned true. Trials that ended are kept.
        ValueError: the family has nothing to search.
    """
    if family.search is None:
        raise ValueError(f"family {family.name} has no parameters to search")
    run = _Run(family, judge, terms, asked, should_stop, clock() + terms.seconds, clock, wait)
    return run.search()


@dataclass(frozen=True, slots=True)
class _Run:
    """One stretch of a search, from opening the study to its result."""

    family: Family
    judge: Judge
    terms: Terms
    asked: ApiModel | None
    should_stop: Callable[[], bool]
    deadline: float
    clock: Callable[[], float]
    wait: Callable[[float], None]

    def search(self) -> Tuned:
        study = self._open()
        if self.terms.team == ALONE:
            ended = _ended(study)
            self._optimize(study, self.terms.trials - ended["complete"] - ended["pruned"])
        else:
            work_together(
                study,
                trials=self.terms.trials,
                try_one=lambda: self._optimize(study, 1),
                is_over=self._is_over,
                wait=self.wait,
            )
        if self.should_stop():
            raise FitStopped
        return self._result(study)

    def _optimize(self, study: Study, trials: int) -> None:
        seconds = self.deadline - self.clock()
        if trials > 0 and seconds > 0:
            study.optimize(
                self._try,
                n_trials=trials,
                timeout=seconds,
                n_jobs=self.terms.jobs,
                catch=(FitStopped, ValueError, ArithmeticError, MemoryError),
                callbacks=[self._tell],
            )

    def _open(self) -> Study:
        import optuna

        # Its own lines are no JSON, and say what ours say.
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(
            study_name=self.terms.name,
            storage=self.terms.storage,
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(
                n_startup_trials=_UNPRUNED_TRIALS, n_warmup_steps=0
            ),
        )
        team = self.terms.team
        if team == ALONE:
            give_up_orphans(study)
        if self.terms.first and not study.trials:
            study.enqueue_trial(dict(self.terms.first), skip_if_exists=True)
        # A search that goes on must not begin with the draws it began with before, and no two
        # processes with the same; what others are at work on is taken to be none too good.
        study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=_STARTING_TRIALS,
            seed=self.terms.seed + len(study.trials) + team.number * _APART,
            constant_liar=team.size > 1,
        )
        return study

    def _try(self, trial: Trial) -> float:
        """Judges what Optuna suggests, part by part."""
        import optuna

        parameters = self._over_asked(trial)
        worth = 0.0
        try:
            for step, worth in enumerate(
                self.judge.steps(parameters, should_stop=self._is_over), 1
            ):
                trial.report(worth, step)
                if trial.should_prune():
                    raise optuna.TrialPruned
        except FitStopped:
            trial.study.stop()
            raise
        return worth

    def _result(self, study: Study) -> Tuned:
        ended = _ended(study)
        if not ended["complete"]:
            why = (
                "every trial failed"
                if ended["failed"] and self.clock() < self.deadline
                else "no trial was completed in time: give tuning.timeout more"
            )
            return Tuned(self.asked, is_better=False, why=why, trials=ended)
        import optuna

        found = self._over_asked(optuna.trial.FixedTrial(study.best_params))
        baseline = self.judge.confirm(self.asked, should_stop=self.should_stop)
        best = self.judge.confirm(found, should_stop=self.should_stop)
        is_better = best - baseline >= MARGIN
        why = (
            f"the best of {ended['complete']} trials gains {best - baseline:.3f}"
            if is_better
            else f"the best of {ended['complete']} trials gains {best - baseline:.3f}, less than "
            f"{MARGIN}: what the model asks for stays"
        )
        return Tuned(
            parameters=found if is_better else self.asked,
            is_better=is_better,
            why=why,
            trials=ended,
            baseline=baseline,
            best=best,
            found=study.best_params,
        )

    def _over_asked(self, trial: Any) -> ApiModel:
        """Returns the suggested parameters; what the space leaves open is as the model asks."""
        if self.family.search is None:
            raise ValueError(f"family {self.family.name} has no parameters to search")
        suggested = self.family.search(trial)
        if self.asked is None:
            return suggested
        named = {name: getattr(suggested, name) for name in suggested.model_fields_set}
        return self.asked.model_copy(update=named)

    def _is_over(self) -> bool:
        return self.should_stop() or self.clock() >= self.deadline

    def _tell(self, study: Study, trial: FrozenTrial) -> None:
        log: Any = structlog.get_logger("metricwatch_trainer")
        ended = _ended(study)
        log.info(
            "tuning",
            family=self.family.name,
            trial=sum(ended.values()),
            of=self.terms.trials,
            state=trial.state.name.lower(),
            worth=None if trial.value is None else round(trial.value, 4),
            best=round(study.best_value, 4) if ended["complete"] else None,
            seconds_left=round(max(0.0, self.deadline - self.clock()), 1),
        )


def _ended(study: Study) -> dict[str, int]:
    """Returns how many trials are over, by state."""
    from optuna.trial import TrialState

    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    return {
        "complete": states.count(TrialState.COMPLETE),
        "pruned": states.count(TrialState.PRUNED),
        "failed": states.count(TrialState.FAIL),
    }
