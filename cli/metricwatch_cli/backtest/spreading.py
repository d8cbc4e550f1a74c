"""Work spread over processes, with progress and an end that leaves nothing running.

Workers are started afresh (spawn), ignore Ctrl-C and ask `should_stop` instead, so that the parent
alone decides and every one of them ends within about a second.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from typing import Generic, TypeVar

from metricwatch_cli.backtest.meter import Meter
from metricwatch_cli.backtest.problems import WrongInput

Item = TypeVar("Item")
Result = TypeVar("Result")
_PAUSE_SECONDS = 0.2
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


Told = Callable[[float], None]
"""Called with the work, or the share of it, that was done since the last call."""
ShouldStop = Callable[[], bool]


@dataclass(slots=True)
class Pulse:
    """What work tells about itself and asks.

    Attributes:
        told: called with the amount of work done since the last call.
        should_stop: whether to give up.
    """

    told: Told
    should_stop: ShouldStop


Task = Callable[[Item, Pulse], Result]


def spread(
    task: Task[Item, Result], items: Sequence[Item], *, jobs: int, meter: Meter
) -> list[Result]:
    """Returns what `task` makes of each item, in their order.

    Args:
        task: a function of a module: another process has to find it.
        items: one for each call.
        jobs: most processes; 1 works in this one.
        meter: shows how far it is.

    Raises:
        WrongInput: a worker was killed, which is what happens when memory runs out.
        KeyboardInterrupt: after every worker has ended.
    """
    workers = min(jobs, len(items))
    try:
        if workers <= 1:
            return _alone(task, items, meter)
        return _Pool[Item, Result](workers).run(task, items, meter)
    finally:
        meter.end()


def _alone(task: Task[Item, Result], items: Sequence[Item], meter: Meter) -> list[Result]:
    done = 0.0
    results: list[Result] = []

    def told(amount: float) -> None:
        nonlocal done
        done += amount
        meter.show(done)

    pulse = Pulse(told, lambda: False)
    results.extend(task(item, pulse) for item in items)
    return results


class _Pool(Generic[Item, Result]):
    """Processes for one run."""

    def __init__(self, workers: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._workers = workers
        self._done: Synchronized[float] = context.Value("d", 0.0)
        self._stop = context.Event()
        self._context = context

    def run(self, task: Task[Item, Result], items: Sequence[Item], meter: Meter) -> list[Result]:
        """See `spread`."""
        # Inherited by the workers: each has a core, and libraries would take all of them.
        before = {name: os.environ.get(name) for name in _THREADS}
        os.environ.update(dict.fromkeys(_THREADS, "1"))
        try:
            with ProcessPoolExecutor(
                self._workers,
                mp_context=self._context,
                initializer=_begin,
                initargs=(self._done, self._stop),
            ) as pool:
                # Workers inherit the mask: Ctrl-C while they start is the parent's alone.
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
                try:
                    try:
                        futures = [pool.submit(_call, task, item) for item in items]
                    finally:
                        # A Ctrl-C that came meanwhile takes effect here.
                        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
                    return self._collect(futures, meter)
                except BaseException:
                    self._stop.set()
                    pool.shutdown(cancel_futures=True)
                    raise
        except BrokenProcessPool as error:
            raise WrongInput(
                "a worker process was killed, probably because memory ran out: use fewer --jobs"
            ) from error
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

    def _collect(self, futures: list[Future[Result]], meter: Meter) -> list[Result]:
        waiting = set(futures)
        while waiting:
            ended, waiting = wait(waiting, timeout=_PAUSE_SECONDS, return_when=FIRST_COMPLETED)
            for future in ended:
                future.result()
            meter.show(self._done.value)
        return [future.result() for future in futures]


_pulse = Pulse(lambda amount: None, lambda: False)


def _begin(done: Synchronized[float], stop: Event) -> None:
    """Prepares a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def told(amount: float) -> None:
        with done.get_lock():
            done.value += amount

    _pulse.told = told
    _pulse.should_stop = stop.is_set


def _call(task: Task[Item, Result], item: Item) -> Result:
    return task(item, _pulse)
