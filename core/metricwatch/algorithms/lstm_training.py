"""Training of the networks in `lstm`: torch, all series of a shard as one batched computation.

A history is cut into segments that are learned from side by side; states carry over from chunk to
chunk (truncated backpropagation through time, Williams & Peng 1990), so that no sample is seen
more than once in a pass. The backward pass is written out, four times faster than autograd through
a cell. Everything that couples parameters (gradient norm, Adam, the best pass) is per series: the
networks of a shard know nothing of each other. Shards of some fifty series stay in the cache,
which makes them quicker than one large batch, and are trained in parallel threads.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from metricwatch.algorithms.autoregressive_state import FloatArray32
from metricwatch.algorithms.base import FitStopped, Progress, Report, ShouldStop
from metricwatch.algorithms.lstm_cells import Cells
from metricwatch.resources.algorithm import LstmParameters

_SHARD = 50
_GRADIENT_NORM = 1.0
_ADAM = (0.9, 0.999, 1e-8)
_VALIDATION_SHARE = 8
_MOST_VALIDATION = 504
_VALIDATION_SEGMENTS = 8
_LEAST_GAIN = 0.01
"""A network must beat the autoregression alone by so much on the inner validation part."""
_WORTH_WAITING = 1e-3


@dataclass(slots=True)
class _Networks:
    """Parameters of one shard: input, bias and recurrent weights are one matrix."""

    weights: Tensor  # [S, H + 2, 4H]; rows H and H + 1 belong to the input and the constant 1
    head: Tensor  # [S, H]
    offset: Tensor  # [S]

    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.weights, self.head, self.offset

    def copy(self) -> _Networks:
        return _Networks(*(part.clone() for part in self.parts()))

    def take(self, better: Tensor, other: _Networks) -> None:
        """Takes the rows of `other` where `better` is true."""
        for own, new in zip(self.parts(), other.parts(), strict=True):
            own[better] = new[better]


@dataclass(slots=True)
class _Tape:
    """What a forward pass leaves for the backward pass; allocated once for the longest chunk."""

    states: Tensor  # [K + 1, S, B, H + 2], hidden state, input and 1
    memories: Tensor  # [K + 1, S, B, H]
    gates: Tensor  # [K, S, B, 4H], after their activations, in the order i, f, o, g
    squashed: Tensor  # [K, S, B, H], tanh of the memory after a step

    @classmethod
    def blank(cls, steps: int, series: int, batch: int, hidden: int) -> _Tape:
        tape = cls(
            states=torch.zeros(steps + 1, series, batch, hidden + 2),
            memories=torch.zeros(steps + 1, series, batch, hidden),
            gates=torch.empty(steps, series, batch, 4 * hidden),
            squashed=torch.empty(steps, series, batch, hidden),
        )
        tape.states[..., hidden + 1] = 1.0
        return tape

    def rewind(self) -> None:
        """Starts from a state that has seen nothing."""
        self.states[0, ..., :-2] = 0.0
        self.memories[0] = 0.0

    def carry(self, steps: int) -> None:
        """Starts the next chunk where this one of `steps` ended."""
        self.states[0, ..., :-2] = self.states[steps, ..., :-2]
        self.memories[0] = self.memories[steps]


def train_cells(
    entering: FloatArray32,
    target: FloatArray32,
    parameters: LstmParameters,
    *,
    seed: int,
    progress: Report | None = None,
    should_stop: ShouldStop | None = None,
) -> Cells:
    """Returns trained networks; as many shards at once as torch may use threads.

    Every shard computes in one thread, so that the result does not depend on how many there are.

    Args:
        entering: float32[S, T], the input at each tick.
        target: float32[S, T], what is to come out after it, NaN where it does not matter.
        parameters: sizes and pace.
        seed: of initial weights and segment offsets.
        progress: called after each pass of a shard, from its thread.
        should_stop: asked after each chunk.

    Raises:
        FitStopped: `should_stop` returned true.
    """
    series = len(entering)
    tracker = _Tracker(series, parameters.epochs, progress)

    def train(first: int) -> _Networks:
        rows = slice(first, min(first + _SHARD, series))
        generator = torch.Generator().manual_seed(seed * 1_000_003 + first)
        shard = _Shard(entering[rows], target[rows], parameters, generator, should_stop)
        return shard.train(lambda epoch, loss, last: tracker.report(rows, epoch, loss, last=last))

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads, thread_name_prefix="lstm") as pool:
            shards = list(pool.map(train, range(0, series, _SHARD)))
    finally:
        torch.set_num_threads(threads)
    return _as_cells(shards, parameters.hidden)


class _Tracker:
    """Turns passes of shards, in any order, into progress of the whole."""

    def __init__(self, series: int, epochs: int, report: Report | None) -> None:
        self._series = series
        self._epochs = epochs
        self._report = report
        self._done: dict[int, float] = {}
        self._finished = 0
        self._began = time.monotonic()
        self._lock = Lock()

    def report(self, rows: slice, epoch: int, loss: float, *, last: bool) -> None:
        if self._report is None:
            return
        count = rows.stop - rows.start
        with self._lock:
            share = 1.0 if last else epoch / self._epochs
            self._done[rows.start] = count * share
            self._finished += count if last else 0
            done = sum(self._done.values()) / self._series
            elapsed = time.monotonic() - self._began
            progress = Progress(
                family="lstm",
                series=self._finished,
                of=self._series,
                epoch=epoch,
                epochs=self._epochs,
                loss=loss,
                seconds_left=elapsed * (1.0 - done) / done,
            )
        self._report(progress)


class _Shard:
    """Training of up to fifty networks."""

    def __init__(
        self,
        entering: FloatArray32,
        target: FloatArray32,
        parameters: LstmParameters,
        generator: torch.Generator,
        should_stop: ShouldStop | None,
    ) -> None:
        series, ticks = entering.shape
        held_back = min(_MOST_VALIDATION, ticks // _VALIDATION_SHARE)
        self._entering = torch.from_numpy(np.ascontiguousarray(entering))
        known = ~np.isnan(target)
        self._known = torch.from_numpy(known.astype(np.float32))
        self._target = torch.from_numpy(np.where(known, target, np.float32(0)))
        self._cut = ticks - held_back
        self._chunk = max(2, min(parameters.chunk_length, self._cut // 2))
        fitting = self._cut // (2 * self._chunk)
        self._batch = max(1, min(parameters.segments, fitting))
        self._parameters = parameters
        self._generator = generator
        self._should_stop = should_stop
        self._networks = _initial(series, parameters.hidden, generator)
        self._adam = _Adam(self._networks)
        self._tape = _Tape.blank(self._chunk, series, self._batch, parameters.hidden)

    def train(self, report: Callable[[int, float, bool], None]) -> _Networks:
        """Returns each series' best networks, switched off where the autoregression is better."""
        best = self._networks.copy()
        validation = _Validation(
            self._entering, self._target, self._known, self._cut, self._chunk, self._parameters
        )
        alone = validation.without_networks()
        lowest = torch.full_like(alone, math.inf)
        waited = 0
        for epoch in range(1, self._parameters.epochs + 1):
            self._pass(epoch)
            error = validation.error(self._networks)
            worth = bool((error < lowest * (1.0 - _WORTH_WAITING)).any())
            waited = 0 if worth else waited + 1
            better = error < lowest
            best.take(better, self._networks)
            lowest = torch.where(better, error, lowest)
            last = epoch == self._parameters.epochs or waited >= self._parameters.patience
            report(epoch, float(lowest.mean() / alone.mean().clamp(min=1e-12)), last)
            if last:
                break
        off = ~(lowest < alone * (1.0 - _LEAST_GAIN))
        best.head[off] = 0.0
        best.offset[off] = 0.0
        return best

    def _pass(self, epoch: int) -> None:
        """Goes once over every training sample, with segments cut at a random place."""
        share = (epoch - 1) / self._parameters.epochs
        rate = self._parameters.learning_rate * (0.525 + 0.475 * math.cos(math.pi * share))
        most = max(1, self._cut // self._batch)
        shift = int(torch.randint(most, (1,), generator=self._generator))
        inputs, targets, known = (
            _segments(whole[:, : self._cut], self._batch, shift)
            for whole in (self._entering, self._target, self._known)
        )
        self._tape.rewind()
        for first in range(0, len(inputs), self._chunk):
            if self._should_stop is not None and self._should_stop():
                raise FitStopped
            part = slice(first, min(first + self._chunk, len(inputs)))
            said = _forward(self._networks, self._tape, inputs[part])
            weight = known[part] * (2.0 / known[part].sum(dim=(0, 2)).clamp(min=1.0)[:, None])
            blame = (said - targets[part]) * weight
            self._adam.step(self._networks, _backward(self._networks, self._tape, blame), rate)
            self._tape.carry(len(said))


class _Validation:
    """Error on the last part of the history, in a few segments with a run-up each."""

    def __init__(
        self,
        entering: Tensor,
        target: Tensor,
        known: Tensor,
        cut: int,
        run_up: int,
        parameters: LstmParameters,
    ) -> None:
        ticks = entering.shape[1]
        segments = max(1, min(_VALIDATION_SEGMENTS, (ticks - cut) // 8))
        length = -(-(ticks - cut) // segments)
        starts = cut + length * torch.arange(segments)
        index = starts[:, None] + torch.arange(-run_up, length)
        counts = (torch.arange(-run_up, length) >= 0) & (index < ticks)
        index = index.clamp(0, ticks - 1)
        self._inputs = entering[:, index].permute(2, 0, 1).contiguous()
        self._targets = target[:, index].permute(2, 0, 1).contiguous()
        self._weight = (known[:, index] * counts).permute(2, 0, 1).contiguous()
        self._weight /= self._weight.sum(dim=(0, 2)).clamp(min=1.0)[:, None]
        steps, series, batch = self._inputs.shape
        self._tape = _Tape.blank(steps, series, batch, parameters.hidden)

    def without_networks(self) -> Tensor:
        """Returns the mean square of what the autoregression leaves, float32[S]."""
        return (self._targets**2 * self._weight).sum(dim=(0, 2))

    def error(self, networks: _Networks) -> Tensor:
        """Returns the mean square error with the networks, float32[S]."""
        said = _forward(networks, self._tape, self._inputs)
        return ((said - self._targets) ** 2 * self._weight).sum(dim=(0, 2))


class _Adam:
    """Adam (Kingma & Ba 2015) with the gradient norm bounded for each series."""

    def __init__(self, networks: _Networks) -> None:
        self._mean = [torch.zeros_like(part) for part in networks.parts()]
        self._square = [torch.zeros_like(part) for part in networks.parts()]
        self._steps = 0

    def step(self, networks: _Networks, gradients: tuple[Tensor, ...], rate: float) -> None:
        first, second, tiny = _ADAM
        self._steps += 1
        series = len(gradients[0])
        norm = (
            torch.stack([g.reshape(series, -1).square().sum(1) for g in gradients]).sum(0).sqrt()
        )
        shrink = (_GRADIENT_NORM / norm.clamp(min=1e-12)).clamp(max=1.0)
        rate *= math.sqrt(1.0 - second**self._steps) / (1.0 - first**self._steps)
        parts = zip(networks.parts(), gradients, self._mean, self._square, strict=True)
        for part, gradient, mean, square in parts:
            gradient.mul_(shrink.reshape(-1, *[1] * (gradient.dim() - 1)))
            mean.lerp_(gradient, 1.0 - first)
            square.mul_(second).addcmul_(gradient, gradient, value=1.0 - second)
            part.addcdiv_(mean, square.sqrt().add_(tiny), value=-rate)


def _initial(series: int, hidden: int, generator: torch.Generator) -> _Networks:
    """Returns small random networks that say nothing yet and remember for a while."""
    bound = 1.0 / math.sqrt(hidden)
    weights = torch.rand(series, hidden + 2, 4 * hidden, generator=generator)
    weights = (2.0 * weights - 1.0) * bound
    weights[:, hidden + 1] = 0.0
    # Forget gates open at the start (Gers et al. 2000).
    weights[:, hidden + 1, hidden : 2 * hidden] = 1.0
    return _Networks(weights, torch.zeros(series, hidden), torch.zeros(series))


def _segments(whole: Tensor, batch: int, shift: int) -> Tensor:
    """Returns [L, S, batch] of [S, T], `shift` empty places before the first sample."""
    series, ticks = whole.shape
    length = -(-(ticks + shift) // batch)
    padded = torch.zeros(series, batch * length)
    padded[:, shift : shift + ticks] = whole
    return padded.reshape(series, batch, length).permute(2, 0, 1).contiguous()


def _forward(networks: _Networks, tape: _Tape, inputs: Tensor) -> Tensor:
    """Returns what the networks say after each input of [k, S, B], and fills the tape."""
    steps = len(inputs)
    hidden = networks.head.shape[1]
    tape.states[:steps, ..., hidden] = inputs
    for step in range(steps):
        gates = tape.gates[step]
        torch.bmm(tape.states[step], networks.weights, out=gates)
        gates[..., : 3 * hidden].sigmoid_()
        gates[..., 3 * hidden :].tanh_()
        admit, keep, show, candidate = gates.chunk(4, dim=-1)
        memory = tape.memories[step + 1]
        torch.mul(keep, tape.memories[step], out=memory)
        memory.addcmul_(admit, candidate)
        torch.tanh(memory, out=tape.squashed[step])
        tape.states[step + 1, ..., :hidden] = show * tape.squashed[step]
    shown = tape.states[1 : steps + 1, ..., :hidden]
    return (shown * networks.head[:, None, :]).sum(-1) + networks.offset[:, None]


def _backward(networks: _Networks, tape: _Tape, blame: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns gradients of the parameters, given the loss's by what was said, [k, S, B].

    Gates on the tape become their gradients in place.
    """
    hidden = networks.head.shape[1]
    steps = len(blame)
    weights = torch.zeros_like(networks.weights)
    recurrent = networks.weights[:, :hidden].transpose(1, 2)
    shown = tape.states[1 : steps + 1, ..., :hidden]
    head = torch.einsum("ksb,ksbh->sh", blame, shown)
    by_state = torch.zeros_like(tape.memories[0])
    by_memory = torch.zeros_like(tape.memories[0])
    for step in range(steps - 1, -1, -1):
        by_state = torch.addcmul(by_state, blame[step][..., None], networks.head[:, None, :])
        gates = tape.gates[step]
        admit, keep, show, candidate = gates.chunk(4, dim=-1)
        squashed = tape.squashed[step]
        by_memory = by_memory + by_state * show * (1.0 - squashed * squashed)
        by_admit = by_memory * candidate * admit * (1.0 - admit)
        by_keep = by_memory * tape.memories[step] * keep * (1.0 - keep)
        by_show = by_state * squashed * show * (1.0 - show)
        by_candidate = by_memory * admit * (1.0 - candidate * candidate)
        by_memory = by_memory * keep
        torch.cat([by_admit, by_keep, by_show, by_candidate], dim=-1, out=gates)
        weights.baddbmm_(tape.states[step].transpose(1, 2), gates)
        by_state = torch.bmm(gates, recurrent)
    return weights, head, blame.sum(dim=(0, 2))


def _as_cells(shards: list[_Networks], hidden: int) -> Cells:
    weights = torch.cat([shard.weights for shard in shards]).numpy()
    return Cells(
        recurrent=np.ascontiguousarray(weights[:, :hidden]),
        entry=np.ascontiguousarray(weights[:, hidden]),
        bias=np.ascontiguousarray(weights[:, hidden + 1]),
        head=torch.cat([shard.head for shard in shards]).numpy(),
        offset=torch.cat([shard.offset for shard in shards]).numpy(),
    )
