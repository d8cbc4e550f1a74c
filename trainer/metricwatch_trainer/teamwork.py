"""A search in several processes: who tries what, what becomes of a trial whose process was killed.

All of them work on one study in the database. Each says every few seconds that its trial is alive;
one that fell silent is given up by the others and tried again. Who finds nothing left to try waits
for the last trials of the others: should one fail, it is tried again.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import RetryHeartbeatStaleTrialCallback

HEARTBEAT_SECONDS = 10
SILENCE_SECONDS = 60
"""After so long without a sign of life a trial is given up: a busy node may keep it waiting."""
_RETRIES = 2
_LOOK_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Team:
    """The processes that search together.

    Attributes:
        size: how many there are.
        number: which of them this one is, from 0.
    """

    size: int = 1
    number: int = 0


ALONE = Team()
"""One process that has the study for itself."""


def retry() -> RetryHeartbeatStaleTrialCallback:
    """Returns what puts a trial that was given up back in the queue, with the same parameters.

    Not for ever: it may be the trial itself that kills its process, such as by its memory.
    """
    from optuna.exceptions import ExperimentalWarning
    from optuna.storages import RetryHeartbeatStaleTrialCallback

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return RetryHeartbeatStaleTrialCallback(max_retry=_RETRIES)


def give_up_orphans(study: Study) -> None:
    """Fails and queues again the trials of a process that was killed.

    For one that has the study for itself: nobody else can be at work on them. A trial that failed
    does not count against those that are to be tried.
    """
    from optuna.trial import TrialState

    again = retry()
    for trial in study.get_trials(deepcopy=True, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        again(study, trial)


def work_together(
    study: Study,
    *,
    trials: int,
    try_one: Callable[[], None],
    is_over: Callable[[], bool],
    wait: Callable[[float], None],
) -> None:
    """Tries until so many trials have ended, whoever tried them, or time is up.

    Args:
        study: of the whole team.
        trials: most that are tried; a few more when several begin the last one at once.
        try_one: runs one trial and returns when it has ended.
        is_over: whether time is up.
        wait: for seconds.
    """
    while not is_over():
        if _has_room(study, trials):
            try_one()
        elif _is_busy(study):
            wait(_LOOK_SECONDS)
            _give_up_silent(study)
        else:
            return


def _has_room(study: Study, trials: int) -> bool:
    from optuna.trial import TrialState

    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    if TrialState.WAITING in states:
        return True
    if states.count(TrialState.FAIL) >= trials:
        return False
    return len(states) - states.count(TrialState.FAIL) < trials


def _is_busy(study: Study) -> bool:
    from optuna.trial import TrialState

    return bool(study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))


def _give_up_silent(study: Study) -> None:
    from optuna.exceptions import ExperimentalWarning
    from optuna.storages import fail_stale_trials

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        fail_stale_trials(study)
