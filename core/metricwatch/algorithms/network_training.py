"""Training of many small networks at once, in torch: a shard of series is one batch.

A history is cut into segments that are learned from side by side, chunk after chunk, so that no
sample is seen more than once in a pass. Everything that couples parameters (gradient norm, Adam,
the best pass) is per series: the networks of a shard know nothing of each other, unless they are
told to share. Shards of some fifty series stay in the cache, which makes them quicker than one
large batch, and are trained in parallel threads; on a GPU they are large and go one by one.

What a kind of network computes is its `Networks`: `lstm_training` has one, `tcn_training` another.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metricwatch.algorithms.autoregressive_state import FloatArray32
from metricwatch.algorithms.base import FitStopped, Progress, Report, ShouldStop

_SHARD = {"cpu": 50, "cuda": 1000}
_GRADIENT_NORM = 1.0
_ADAM = (0.9, 0.999, 1e-8)
_VALIDATION_SHARE = 8
_MOST_VALIDATION = 504
_VALIDATION_SEGMENTS = 8
_LEAST_GAIN = 0.01
"""A network must beat the autoregression alone by so much on the inner validation part."""
_WORTH_WAITING = 1e-3
_TEACHERS = 100
"""At most so many series teach what all of them share."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How networks are trained.

    Attributes:
        epochs: most passes over the history.
        learning_rate: of the first step; it falls along a cosine.
        segments: into which a history is cut.
        chunk_length: samples between two steps, and how far back a gradient reaches at least.
        patience: passes without improvement after which training ends.
        dropout: share of what enters the last layer that is left out at random.
        shared: one network for all series, but for how it is read in and out.
    """

    epochs: int
    learning_rate: float
    segments: int
    chunk_length: int
    patience: int
    dropout: float
    shared: bool


class Networks(ABC):
    """Parameters of the networks of one shard, S of them, and what they remember of a pass."""

    @abstractmethod
    def parts(self) -> tuple[Tensor, ...]:
        """Returns the parameters, [S, ...] each, by reference."""

    @abstractmethod
    def common(self, parts: Sequence[Tensor]) -> Tensor:
        """Returns a view [S, ...] of that part of parameters or gradients which is shared."""

    @abstractmethod
    def silence(self, rows: Tensor) -> None:
        """Makes the networks of `rows`, bool[S], say zero."""

    @abstractmethod
    def rewind(self) -> None:
        """Forgets the samples seen."""

    @abstractmethod
    def say(self, inputs: Tensor) -> Tensor:
        """Returns what comes out after each input, both [k, S, B], from a fresh state."""

    @abstractmethod
    def gradients(
        self, inputs: Tensor, blame: Callable[[Tensor], Tensor], kept: Tensor | None
    ) -> tuple[Tensor, ...]:
        """Returns the gradient of each part over a chunk, whose state the next one goes on from.

        Args:
            inputs: [k, S, B].
            blame: of what was said, [k, S, B], the gradient of the loss.
            kept: [S, B, width of the last layer], 0 for what is left out; None for nothing.
        """


Make = Callable[[int, int, int, torch.Generator, torch.device], Networks]
"""Makes fresh networks: series, segments, chunk length, source of chance, device."""


def choose_device() -> torch.device:
    """Returns the GPU when torch has one that it can use, and the processor otherwise."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def train_networks(
    family: str,
    make: Make,
    entering: FloatArray32,
    target: FloatArray32,
    pace: Pace,
    *,
    width: int,
    seed: int,
    progress: Report | None = None,
    should_stop: ShouldStop | None = None,
) -> list[FloatArray32]:
    """Returns the trained parts, float32[S, ...] each.

    As many shards are trained at once as torch may use threads. Every shard computes in one
    thread, so that the result does not depend on how many there are.

    Args:
        family: name for progress.
        make: makes networks.
        entering: float32[S, T], the input at each tick.
        target: float32[S, T], what is to come out after it, NaN where it does not matter.
        pace: how to train.
        width: of the networks' last layer.
        seed: of initial weights, segment offsets and dropout.
        progress: called after each pass of a shard, from its thread.
        should_stop: asked after each chunk.

    Raises:
        FitStopped: `should_stop` returned true.
    """
    course = _Course(make, entering, target, pace, width, seed, choose_device(), should_stop)
    tracker = _Tracker(family, len(entering), pace.epochs, progress)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        common = course.teach() if pace.shared else None
        workers = threads if course.device.type == "cpu" else 1
        with ThreadPoolExecutor(workers, thread_name_prefix=family) as pool:
            shards = list(
                pool.map(lambda rows: course.train(rows, common, tracker), course.shards())
            )
    finally:
        torch.set_num_threads(threads)
    return [torch.cat(part).numpy() for part in zip(*shards, strict=True)]


@dataclass(frozen=True, slots=True, eq=False)
class _Course:
    """Everything that all shards have in common; the fields are those of `train_networks`."""

    make: Make
    entering: FloatArray32
    target: FloatArray32
    pace: Pace
    width: int
    seed: int
    device: torch.device
    should_stop: ShouldStop | None

    def shards(self) -> list[range]:
        """Returns the series of each shard."""
        series, size = len(self.entering), _SHARD[self.device.type]
        return [range(first, min(first + size, series)) for first in range(0, series, size)]

    def teach(self) -> Tensor:
        """Returns what all series are to share, [1, ...], as a few of them have learned it."""
        series = len(self.entering)
        teachers = np.unique(np.linspace(0, series - 1, min(series, _TEACHERS)).astype(int))
        taught = _Shard(self, teachers, series).train(lambda *_: None, None)
        return taught.common(taught.parts())[:1]

    def train(self, rows: range, common: Tensor | None, tracker: _Tracker) -> list[Tensor]:
        """Returns the parts of the networks of `rows`, given what is shared already."""

        def report(epoch: int, loss: float, last: bool) -> None:
            tracker.report(rows.start, len(rows), epoch, loss, last=last)

        networks = _Shard(self, np.array(rows), rows.start).train(report, common)
        return [part.cpu() for part in networks.parts()]


class _Tracker:
    """Turns passes of shards, in any order, into progress of the whole."""

    def __init__(self, family: str, series: int, epochs: int, report: Report | None) -> None:
        self._family = family
        self._series = series
        self._epochs = epochs
        self._report = report
        self._done: dict[int, float] = {}
        self._finished = 0
        self._began = time.monotonic()
        self._lock = Lock()

    def report(self, first: int, count: int, epoch: int, loss: float, *, last: bool) -> None:
        if self._report is None:
            return
        with self._lock:
            self._done[first] = count * (1.0 if last else epoch / self._epochs)
            self._finished += count if last else 0
            done = sum(self._done.values()) / self._series
            elapsed = time.monotonic() - self._began
            progress = Progress(
                family=self._family,
                series=self._finished,
                of=self._series,
                epoch=epoch,
                epochs=self._epochs,
                loss=loss,
                seconds_left=elapsed * (1.0 - done) / done,
            )
        self._report(progress)


class _Shard:
    """Training of the networks of a few series."""

    def __init__(self, course: _Course, rows: NDArray[np.int64], number: int) -> None:
        """Makes fresh networks for `rows`; `number` tells the chance of shards apart."""
        pace, device = course.pace, course.device
        entering, target = course.entering[rows], course.target[rows]
        series, ticks = entering.shape
        held_back = min(_MOST_VALIDATION, ticks // _VALIDATION_SHARE)
        known = ~np.isnan(target)
        self._entering = torch.from_numpy(entering).to(device)
        self._known = torch.from_numpy(known.astype(np.float32)).to(device)
        self._target = torch.from_numpy(np.where(known, target, np.float32(0))).to(device)
        self._cut = ticks - held_back
        self._chunk = max(2, min(pace.chunk_length, self._cut // 2))
        self._batch = max(1, min(pace.segments, self._cut // (2 * self._chunk)))
        self._pace = pace
        self._width = course.width
        self._generator = torch.Generator().manual_seed(course.seed * 1_000_003 + number)
        self._should_stop = course.should_stop
        self._networks = course.make(series, self._batch, self._chunk, self._generator, device)

    def train(self, report: Callable[[int, float, bool], None], common: Tensor | None) -> Networks:
        """Returns each series' best networks, switched off where the autoregression is better.

        Args:
            report: takes the pass, the error relative to the autoregression's, and whether it was
                the last one.
            common: what is shared and stays as it is; None to learn it, together if so told.
        """
        networks, pace = self._networks, self._pace
        if common is not None:
            networks.common(networks.parts())[:] = common
        validation = _Validation(self._entering, self._target, self._known, self._cut, self._chunk)
        alone = validation.error(None)
        lowest = torch.full_like(alone, math.inf)
        best = [part.clone() for part in networks.parts()]
        adam = _Adam(networks.parts())
        waited = 0
        for epoch in range(1, pace.epochs + 1):
            self._pass(epoch, adam, common)
            error = validation.error(networks)
            if pace.shared and common is None:
                error = (error / alone.clamp(min=1e-12)).mean().expand_as(error)
            worth = bool((error < lowest * (1.0 - _WORTH_WAITING)).any())
            waited = 0 if worth else waited + 1
            better = error < lowest
            for own, new in zip(best, networks.parts(), strict=True):
                own[better] = new[better]
            lowest = torch.where(better, error, lowest)
            last = epoch == pace.epochs or waited >= pace.patience
            report(epoch, float(lowest.mean() / alone.mean().clamp(min=1e-12)), last)
            if last:
                break
        for own, new in zip(networks.parts(), best, strict=True):
            own[:] = new
        networks.silence(~(lowest < alone * (1.0 - _LEAST_GAIN)))
        return networks

    def _pass(self, epoch: int, adam: _Adam, common: Tensor | None) -> None:
        """Goes once over every training sample, with segments cut at a random place."""
        networks, pace = self._networks, self._pace
        share = (epoch - 1) / pace.epochs
        rate = pace.learning_rate * (0.525 + 0.475 * math.cos(math.pi * share))
        most = max(1, self._cut // self._batch)
        shift = int(torch.randint(most, (1,), generator=self._generator))
        inputs, targets, known = (
            _segments(whole[:, : self._cut], self._batch, shift)
            for whole in (self._entering, self._target, self._known)
        )
        networks.rewind()
        for first in range(0, len(inputs), self._chunk):
            if self._should_stop is not None and self._should_stop():
                raise FitStopped
            part = slice(first, min(first + self._chunk, len(inputs)))
            blame = _squares(targets[part], known[part])
            gradients = networks.gradients(inputs[part], blame, self._kept())
            if common is not None:
                networks.common(gradients).zero_()
            elif pace.shared:
                networks.common(gradients)[:] = networks.common(gradients).mean(0)
            adam.step(networks.parts(), gradients, rate)

    def _kept(self) -> Tensor | None:
        """Returns what dropout leaves, [S, B, width], the same for a whole chunk.

        A mask that changes with every sample is mere noise to a state (Gal & Ghahramani 2016).
        """
        dropout = self._pace.dropout
        if dropout == 0.0:
            return None
        shape = (len(self._entering), self._batch, self._width)
        kept = torch.rand(shape, generator=self._generator) >= dropout
        return kept.to(self._entering.device, torch.float32) / (1.0 - dropout)


class _Validation:
    """Error on the last part of the history, in a few segments with a run-up each."""

    def __init__(
        self, entering: Tensor, target: Tensor, known: Tensor, cut: int, run_up: int
    ) -> None:
        ticks = entering.shape[1]
        segments = max(1, min(_VALIDATION_SEGMENTS, (ticks - cut) // 8))
        length = -(-(ticks - cut) // segments)
        place = torch.arange(-run_up, length)
        index = cut + length * torch.arange(segments)[:, None] + place
        counts = ((place >= 0) & (index < ticks)).to(entering.device)
        index = index.clamp(0, ticks - 1).to(entering.device)
        self._inputs = entering[:, index].permute(2, 0, 1).contiguous()
        self._targets = target[:, index].permute(2, 0, 1).contiguous()
        self._weight = (known[:, index] * counts).permute(2, 0, 1).contiguous()
        self._weight /= self._weight.sum(dim=(0, 2)).clamp(min=1.0)[:, None]

    def error(self, networks: Networks | None) -> Tensor:
        """Returns the mean square error with networks, or of the autoregression alone, [S]."""
        said = 0.0 if networks is None else networks.say(self._inputs)
        return ((said - self._targets) ** 2 * self._weight).sum(dim=(0, 2))


class _Adam:
    """Adam (Kingma & Ba 2015) with the gradient norm bounded for each series."""

    def __init__(self, parts: Sequence[Tensor]) -> None:
        self._mean = [torch.zeros_like(part) for part in parts]
        self._square = [torch.zeros_like(part) for part in parts]
        self._steps = 0

    def step(self, parts: Sequence[Tensor], gradients: Sequence[Tensor], rate: float) -> None:
        first, second, tiny = _ADAM
        self._steps += 1
        series = len(gradients[0])
        norm = sum(g.reshape(series, -1).square().sum(1) for g in gradients)
        shrink = (_GRADIENT_NORM / torch.as_tensor(norm).sqrt().clamp(min=1e-12)).clamp(max=1.0)
        rate *= math.sqrt(1.0 - second**self._steps) / (1.0 - first**self._steps)
        moments = zip(parts, gradients, self._mean, self._square, strict=True)
        for part, gradient, mean, square in moments:
            gradient.mul_(shrink.reshape(-1, *[1] * (gradient.dim() - 1)))
            mean.lerp_(gradient, 1.0 - first)
            square.mul_(second).addcmul_(gradient, gradient, value=1.0 - second)
            part.addcdiv_(mean, square.sqrt().add_(tiny), value=-rate)


def _squares(wanted: Tensor, known: Tensor) -> Callable[[Tensor], Tensor]:
    """Returns the gradient of each series' mean square error by what is said, [k, S, B] each."""
    weight = known * (2.0 / known.sum(dim=(0, 2)).clamp(min=1.0)[:, None])
    return lambda said: (said - wanted) * weight


def _segments(whole: Tensor, batch: int, shift: int) -> Tensor:
    """Returns [L, S, batch] of [S, T], `shift` empty places before the first sample."""
    series, ticks = whole.shape
    length = -(-(ticks + shift) // batch)
    padded = whole.new_zeros(series, batch * length)
    padded[:, shift : shift + ticks] = whole
    return padded.reshape(series, batch, length).permute(2, 0, 1).contiguous()
