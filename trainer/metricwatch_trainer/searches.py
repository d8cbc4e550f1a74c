"""The searches of one training run: a study for each watch, and one time limit for all.

A single pod searches before it learns. Where several pods learn or search, those that search come
first, in a Job of their own, and leave the result beside the trials: all slices of a watch are
learned with the same parameters.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import structlog

from metricwatch.resources.training import Tuning
from metricwatch.store.errors import StoreUnavailable
from metricwatch.store.rows import Version
from metricwatch.verdict import ExitCode
from metricwatch_trainer.learning import Lesson
from metricwatch_trainer.preparation import Group
from metricwatch_trainer.refusal import Refusal
from metricwatch_trainer.settings import Phase, Settings
from metricwatch_trainer.teamwork import ALONE, Team
from metricwatch_trainer.tuning import Terms, Tuned, tune
from metricwatch_trainer.tuning_objective import Objective, TooLittle
from metricwatch_trainer.tuning_storage import (
    close_storage,
    forget_studies,
    keep_result,
    kept_result,
    open_storage,
    study_name,
)

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

_AGAIN_SECONDS = 900.0


@dataclass(slots=True)
class Searches:
    """Looks for the parameters of one watch after the other.

    Attributes:
        settings: which version of which model.
        tuning: how many trials, how long.
        watches: how many are still to come; they share the time that is left.
        should_stop: asked while fitting.
        clock: monotonic seconds.
        earlier: by watch, the parameters that were best for an earlier version.
    """

    settings: Settings
    tuning: Tuning
    watches: int
    should_stop: Callable[[], bool]
    clock: Callable[[], float] = time.monotonic
    earlier: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
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
            Refusal: several pods search, and there is no place for their trials.
        """
        share = max(0.0, self.tuning.timeout.seconds - self._spent) / max(1, self.watches)
        self.watches -= 1
        if not self.tuning.enabled or not groups:
            return lesson, None
        kept = self._kept(watch_uid) if self._is_shared else None
        if kept is not None:
            return _with_found(lesson, kept), dict(kept)
        if self.settings.shards > 1 and self.settings.phase is Phase.TRAIN:
            # To search in each slice would find other parameters in each.
            why = "the search left no result: learned as asked"
            return lesson, {"family": lesson.family.name, "why": why, "isBetter": False}
        began = self.clock()
        tuned = self._tuned(lesson, groups, watch_uid=watch_uid, seconds=share)
        seconds = self.clock() - began
        self._spent += seconds
        self._log.info("tuned", family=lesson.family.name, why=tuned.why, gain=tuned.gain)
        summary = {"family": lesson.family.name, "seconds": round(seconds, 1)} | tuned.summary()
        if self.settings.phase is Phase.SEARCH:
            self._keep(watch_uid, summary)
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
        searching = self.settings.phase is Phase.SEARCH
        terms = Terms(
            name=self._name(watch_uid),
            storage=self._opened(),
            trials=self.tuning.trials,
            seconds=seconds,
            seed=lesson.seed,
            team=Team(self.settings.shards, self.settings.shard) if searching else ALONE,
            first=self.earlier.get(watch_uid),
        )
        with _storage_errors():
            return tune(
                family,
                objective,
                terms,
                asked=lesson.parameters,
                should_stop=self.should_stop,
                clock=self.clock,
            )

    @property
    def _is_shared(self) -> bool:
        """Whether pods of their own search."""
        settings = self.settings
        return settings.phase is Phase.SEARCH or settings.shards > 1 or self.tuning.parallelism > 1

    def _name(self, watch_uid: str) -> str:
        settings = self.settings
        return study_name(
            model_uid=settings.model_uid, version=settings.version, watch_uid=watch_uid
        )

    def _kept(self, watch_uid: str) -> Mapping[str, Any] | None:
        storage = self._opened()
        if storage is None:
            return None
        with _storage_errors():
            return kept_result(storage, self._name(watch_uid))

    def _keep(self, watch_uid: str, summary: Mapping[str, Any]) -> None:
        storage = self._opened()
        if storage is not None:
            with _storage_errors():
                keep_result(storage, self._name(watch_uid), summary)

    def _opened(self) -> RDBStorage | None:
        if not self._is_open:
            self._storage = open_storage(self.settings.database.read())
            self._is_open = True
            if self._storage is None and self.settings.phase is Phase.SEARCH:
                raise Refusal(
                    ExitCode.REQUEST,
                    "NoPlaceForTrials",
                    "several pods cannot search together: the database user may not create the "
                    "schema for their trials; GRANT CREATE ON DATABASE to it, or set "
                    "tuning.parallelism and training.parallelism to 1",
                    retry_after_seconds=_AGAIN_SECONDS,
                )
            if self._storage is not None:
                forget_studies(
                    self._storage,
                    model_uid=self.settings.model_uid,
                    but=self.settings.version,
                )
        return self._storage


def found_before(versions: Iterable[Version], *, family: str) -> dict[str, Mapping[str, Any]]:
    """Returns by watch the parameters that the newest search for this family found best.

    Args:
        versions: newest first.
        family: whose parameters.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for version in versions:
        for watch in (version.report or {}).get("watches", ()):
            tuning = watch.get("tuning") or {}
            if tuning.get("family") == family and tuning.get("found"):
                found.setdefault(watch["uid"], tuning["found"])
    return found


@contextmanager
def _storage_errors() -> Iterator[None]:
    from optuna.exceptions import StorageInternalError

    try:
        yield
    except StorageInternalError as error:
        raise StoreUnavailable(f"the search cannot keep its trials: {error}") from error


def _with_found(lesson: Lesson, summary: Mapping[str, Any]) -> Lesson:
    """Returns the lesson with the parameters of a search that others made."""
    given = summary.get("parameters")
    if given is None:
        return lesson
    # From JSON, strictly: 1 is no float and "a" no enumeration in Python's own values.
    parameters = lesson.family.parameters.model_validate_json(json.dumps(given), strict=True)
    return replace(lesson, parameters=parameters)
