"""What the next training run will need and take, told before its Job is there.

Before anything was trained, memory follows from the sizes alone: each pod reads the history of a
whole watch before it keeps its slice. A run that is over knows better, so the next one is taken to
need as much for each sample, and as long.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from metricwatch.durations import format_duration
from metricwatch.memory import as_quantity
from metricwatch.reported import read_report
from metricwatch.resources import AnomalyModelSpec
from metricwatch.store.rows import Version
from metricwatch_operator.planning.desired import Desired
from metricwatch_operator.planning.health import Health

MOST_TICKS = 150_000
"""Samples of a series that a trainer looks at, at most."""
_BASE_BYTES = 120 * 2**20
"""A trainer without any series: interpreter, NumPy, the families, the connections."""
_READ_BYTES = 48
"""A sample of a watch while it is read: what 20 million samples of one watch took."""
_HELD_BYTES = 24
"""A sample of a pod's own slice while it is learned: as read, filled, blanked."""
_LEARNED_BYTES = 300
"""A sample of the series that are learned together, of which there are never many."""
_TOGETHER = 1_500_000
_SOBER, _BLOWN_UP = 0.2, 5.0
"""What a run of a handful of series needed tells little about many."""


@dataclass(frozen=True, slots=True)
class TrainingEstimate:
    """What a training run needs.

    Attributes:
        memory: of one pod, as a quantity; None while there is nothing to train.
        time: of the whole run, as a duration; None before anything was trained.
    """

    memory: str | None = None
    time: str | None = None


def estimate_training(
    desired: Desired, versions: Iterable[Version], healths: Mapping[str, Health]
) -> TrainingEstimate:
    """What the next training run needs, by the sizes of the watches and by the run before.

    Args:
        desired: What the model and its watches ask for.
        versions: Newest first.
        healths: By uid of the watch.
    """
    model = desired.model
    if model is None:
        return TrainingEstimate()
    sizes = [size for size in _sizes(desired, model.spec, healths) if size > 0]
    if not sizes:
        return TrainingEstimate()
    before = _run_before(model.spec, versions)
    return TrainingEstimate(
        memory=as_quantity(_memory(sizes, model.spec.training.parallelism, before)),
        time=_time(sizes, model.spec, before),
    )


@dataclass(frozen=True, slots=True)
class _Run:
    """A run that is over.

    Attributes:
        sizes: Samples of each watch.
        shards: Pods that shared it.
        peak_bytes: Of its largest pod, 0 when it does not say.
        seconds: Without its search for parameters.
        searched: Seconds of its search.
    """

    sizes: tuple[int, ...]
    shards: int
    peak_bytes: int
    seconds: float
    searched: float


def _sizes(
    desired: Desired, spec: AnomalyModelSpec, healths: Mapping[str, Health]
) -> Iterable[int]:
    """Samples of each watch that can be trained, as many as `maxSeries` lets in if need be."""
    for watch in desired.watches:
        data = watch.settings or watch.data
        if data is not None:
            series = healths.get(watch.uid, Health()).series or data.max_series
            ticks = int(spec.training.window.seconds // data.interval_seconds)
            yield series * min(ticks, MOST_TICKS)


def _run_before(spec: AnomalyModelSpec, versions: Iterable[Version]) -> _Run | None:
    """The newest run with the same algorithm that says what it took to learn everything."""
    for version in versions:
        report = read_report(version.report)
        asked = version.request.get("algorithm", {}).get("type")
        if asked != str(spec.algorithm.type) or report.has_taken_over:
            continue
        sizes = tuple(watch.samples or 0 for watch in report.watches)
        # Of a run that cannot be read in full, nobody knows what it learned.
        if sum(sizes) > 0 and report.total_seconds is not None and not report.problems:
            searched = sum(watch.tuning.seconds for watch in report.watches if watch.tuning)
            # A search in pods of its own was over before the run began to count.
            alone = searched if searched < report.total_seconds else 0.0
            return _Run(
                sizes=sizes,
                shards=report.shards,
                peak_bytes=report.peak_bytes,
                seconds=report.total_seconds - alone,
                searched=searched,
            )
    return None


def _memory(sizes: Iterable[int], shards: int, before: _Run | None) -> int:
    usual = _usual(sizes, shards)
    if before is None or not before.peak_bytes:
        return _BASE_BYTES + usual
    known = max(_usual(before.sizes, before.shards), 1)
    factor = (before.peak_bytes - _BASE_BYTES) / known
    return _BASE_BYTES + round(usual * min(max(factor, _SOBER), _BLOWN_UP))


def _usual(sizes: Iterable[int], shards: int) -> int:
    """Bytes of the largest watch: one is read and learned after the other."""
    whole = max(sizes)
    own = whole / shards
    learning = own * _HELD_BYTES + min(own, _TOGETHER) * _LEARNED_BYTES
    return round(max(whole * _READ_BYTES, learning))


def _time(sizes: list[int], spec: AnomalyModelSpec, before: _Run | None) -> str | None:
    if before is None or before.seconds <= 0:
        return None
    share = sum(sizes) / sum(before.sizes) * before.shards / spec.training.parallelism
    seconds = before.seconds * share
    if spec.tuning.enabled:
        seconds += before.searched or spec.tuning.timeout.seconds
    return format_duration(max(1, round(seconds)))
