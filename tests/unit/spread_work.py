"""Work for other processes: they import this module, which is quicker than one of tests."""

import time
from pathlib import Path

from metricwatch_cli.backtest.problems import WrongInput
from metricwatch_cli.backtest.spreading import Pulse


def doubled(number: int, pulse: Pulse) -> int:
    """Twice the number, unless it is wrong."""
    pulse.told(1.0)
    if number < 0:
        raise WrongInput(f"{number} is below zero")
    return 2 * number


def until_stopped(told: Path, pulse: Pulse) -> None:
    """Works until it is asked to give up; leaves a file behind when nobody asks."""
    for _ in range(300):
        if pulse.should_stop():
            return
        time.sleep(0.1)
    told.touch()
