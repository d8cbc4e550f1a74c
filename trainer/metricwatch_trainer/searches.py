"""The searches of one training run: a study for each watch, and one time limit for all."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import structlog

from metricwatch.resources.training import Tuning
from metricwatch.store.errors import StoreUnavailable
from metricwatch_trainer.learning import Lesson
from metricwatch_trainer.preparation import Group
from metricwatch_trainer.settings import Settings
from metricwatch_trainer.tuning import Terms, Tuned, tune
from metricwatch_trainer.tuning_objective import Objective, TooLittle
from metricwatch_trainer.tuning_storage import (
    close_storage,
    forget_studies,
    open_storage,
    study_name,
)

if TYPE_CHECKING:
    from optuna.storages import RDBStorage


@dataclass(slots=True)
class Searches:
    """Looks for the parameters of one watch after the other.

    Attributes:
        settings: which version of which model.
        tuning: how many trials, how long.
        watches: how many are still to come; they share the time that is left.
        should_stop: asked while fitting.
        clock: monotonic seconds.
    """

    settings: Settings
    tuning: Tuning
    watches: int
    should_stop: Callable[[], bool]
    clock: Callable[[], float] = time.monotonic
    _spent: float = 0.0
    _storage: RDBStorage | None = None
    _is_open: bool = False
    _log: Any = field(default_factory=lambda: structlog.get_logger("metricwatch_trainer"))

    def refine(
        self, lesson: Lesson, groups: Sequence[Group], *, watch_uid: str
    ) -> tuple[Lesson, dict[str, Any] | None]:
        """Returns the lesson with the parameters found, and what the report says of the search.

        Raises:
            FitStopped: `should_stop` returned true.
            StoreUnavailable: the trials cannot be kept.
        """
        share = max(0.0, self.tuning.timeout.seconds - self._spent) / max(1, self.watches)
        self.watches -= 1
        if not self.tuning.enabled or not groups:
            return lesson, None
        began = self.clock()
        tuned = self._tuned(lesson, groups, watch_uid=watch_uid, seconds=share)
        seconds = self.clock() - began
        self._spent += seconds
        self._log.info("tuned", family=lesson.family.name, why=tuned.why, gain=tuned.gain)
        summary = {"family": lesson.family.name, "seconds": round(seconds, 1)} | tuned.summary()
        return replace(lesson, parameters=tuned.parameters), summary

    def forget(self) -> None:
        """Deletes the trials: the version is stored, and its report says what they brought."""
        if self._storage is not None:
            forget_studies(self._storage, model_uid=self.settings.model_uid, but=None)
            close_storage(self._storage)
            self._storage, self._is_open = None, False

    def _tuned(
        self, lesson: Lesson, groups: Sequence[Group], *, watch_uid: str, seconds: float
    ) -> Tuned:
        family = lesson.family
        if family.search is None:
            why = f"{family.name} has no parameters to search"
            return Tuned(lesson.parameters, is_better=False, why=why)
        try:
            objective = Objective.of(
                groups, family=family, scaling=lesson.scaling, seed=lesson.seed
            )
        except TooLittle as error:
            return Tuned(lesson.parameters, is_better=False, why=f"{error}")
        terms = Terms(
            name=study_name(
                model_uid=self.settings.model_uid,
                version=self.settings.version,
                watch_uid=watch_uid,
                shard=self.settings.shard,
            ),
            storage=self._opened(),
            trials=self.tuning.trials,
            seconds=seconds,
            seed=lesson.seed,
        )
        from optuna.exceptions import StorageInternalError

        try:
            return tune(
                family,
                objective,
                terms,
                asked=lesson.parameters,
                should_stop=self.should_stop,
                clock=self.clock,
            )
        except StorageInternalError as error:
            raise StoreUnavailable(f"the search cannot keep its trials: {error}") from error

    def _opened(self) -> RDBStorage | None:
        if not self._is_open:
            self._storage = open_storage(self.settings.database.read())
            self._is_open = True
            if self._storage is not None:
                forget_studies(
                    self._storage,
                    model_uid=self.settings.model_uid,
                    but=self.settings.version,
                )
        return self._storage
