"""Systems for tests: channels that follow a common rhythm, and chunks that have learned them."""

import numpy as np

from metricwatch.artifact import ModelChunk
from metricwatch.resources.training import Scaling
from metricwatch.series import Grid, Labels, Panel
from metricwatch_trainer.learning import Lesson, learn_group
from metricwatch_trainer.system_learning import SYSTEM
from metricwatch_trainer.systems import Limits, group_watch

STEP = 60
START = 1_700_000_040
LIMITS = Limits(least_samples=60, most_series=1000, most_values=10_000_000)
LESSON = Lesson(family=SYSTEM, parameters=None, scaling=Scaling.ROBUST, seed=0)


def channel(host: str, metric: str) -> Labels:
    return (("__name__", metric), ("host", host))


def channels(hosts: list[str], metrics: int) -> tuple[Labels, ...]:
    names = [f"m{number}" for number in range(metrics)]
    return tuple(channel(host, name) for host in hosts for name in names)


def recorded(labels: tuple[Labels, ...], ticks: int, *, seed: int = 0) -> Panel:
    """Samples that rise and fall together, with noise of their own, up to START."""
    rng = np.random.default_rng(seed)
    grid = Grid(START - ticks * STEP, STEP, ticks)
    common = np.sin(np.arange(ticks) / 20) + 0.3 * rng.normal(size=ticks)
    gains = 1 + np.arange(len(labels)) % 3
    noise = 0.2 * rng.normal(size=(len(labels), ticks))
    return Panel(grid, labels, 50 + gains[:, None] * common + noise)


def learned(panel: Panel, group_by: tuple[str, ...] = ()) -> ModelChunk:
    """The chunk of a panel that fits into one group."""
    (group,), _ = group_watch(panel, [], LIMITS, group_by=group_by, name="hosts")
    (chunk,), _ = learn_group(
        group,
        LESSON,
        watch_uid="watch-1",
        progress=lambda progress: None,
        should_stop=lambda: False,
    )
    return chunk
