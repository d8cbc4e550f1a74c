"""What the networks of `lstm` compute while they are trained: torch, forwards and backwards.

States carry over from chunk to chunk (truncated backpropagation through time, Williams & Peng
1990). The backward pass is written out, several times faster than autograd through a cell.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from metricwatch.algorithms.autoregressive_state import FloatArray32
from metricwatch.algorithms.base import Report, ShouldStop
from metricwatch.algorithms.lstm_cells import Cells
from metricwatch.algorithms.network_training import Networks, Pace, train_networks
from metricwatch.resources.algorithm import LstmParameters


def train_cells(
    entering: FloatArray32,
    target: FloatArray32,
    parameters: LstmParameters,
    *,
    seed: int,
    progress: Report | None = None,
    should_stop: ShouldStop | None = None,
) -> Cells:
    """Returns trained networks.

    Args:
        entering: float32[S, T], the input at each tick.
        target: float32[S, T], what is to come out after it, NaN where it does not matter.
        parameters: sizes and pace.
        seed: of everything that is left to chance.
        progress: called after each pass of a shard, from its thread.
        should_stop: asked after each chunk.

    Raises:
        FitStopped: `should_stop` returned true.
    """
    hidden = parameters.hidden

    def make(
        series: int, batch: int, chunk: int, generator: torch.Generator, device: torch.device
    ) -> LstmNetworks:
        return LstmNetworks.random(series, hidden, batch, chunk, generator, device)

    weights, head, offset = train_networks(
        "lstm",
        make,
        entering,
        target,
        Pace(
            epochs=parameters.epochs,
            learning_rate=parameters.learning_rate,
            segments=parameters.segments,
            chunk_length=parameters.chunk_length,
            patience=parameters.patience,
            dropout=parameters.dropout,
            shared=parameters.shared,
        ),
        width=hidden,
        seed=seed,
        progress=progress,
        should_stop=should_stop,
    )
    return Cells.of_weights(weights, head, offset, shared=parameters.shared)


@dataclass(slots=True)
class _Tape:
    """What a forward pass leaves for the backward pass; allocated once for the longest chunk."""

    states: Tensor  # [K + 1, S, B, H + 2], hidden state, input and 1
    memories: Tensor  # [K + 1, S, B, H]
    gates: Tensor  # [K, S, B, 4H], after their activations, in the order i, f, o, g
    squashed: Tensor  # [K, S, B, H], tanh of the memory after a step

    @classmethod
    def blank(
        cls, steps: int, series: int, batch: int, hidden: int, device: torch.device
    ) -> _Tape:
        tape = cls(
            states=torch.zeros(steps + 1, series, batch, hidden + 2, device=device),
            memories=torch.zeros(steps + 1, series, batch, hidden, device=device),
            gates=torch.empty(steps, series, batch, 4 * hidden, device=device),
            squashed=torch.empty(steps, series, batch, hidden, device=device),
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


class LstmNetworks(Networks):
    """S networks of H units: input, bias and recurrent weights are one matrix."""

    def __init__(self, weights: Tensor, head: Tensor, offset: Tensor, tape: _Tape) -> None:
        """Takes parameters over.

        Args:
            weights: [S, H + 2, 4H]; rows H and H + 1 belong to the input and the constant 1.
            head: [S, H].
            offset: [S].
            tape: for the chunks of a pass.
        """
        self.weights = weights
        self.head = head
        self.offset = offset
        self._tape = tape
        self._other_tape: _Tape | None = None

    @classmethod
    def random(
        cls,
        series: int,
        hidden: int,
        batch: int,
        chunk: int,
        generator: torch.Generator,
        device: torch.device,
    ) -> LstmNetworks:
        """Returns small random networks that say nothing yet and remember for a while."""
        bound = 1.0 / math.sqrt(hidden)
        weights = torch.rand(series, hidden + 2, 4 * hidden, generator=generator)
        weights = (2.0 * weights - 1.0) * bound
        weights[:, hidden + 1] = 0.0
        # Forget gates open at the start (Gers et al. 2000).
        weights[:, hidden + 1, hidden : 2 * hidden] = 1.0
        return cls(
            weights.to(device),
            torch.zeros(series, hidden, device=device),
            torch.zeros(series, device=device),
            _Tape.blank(chunk, series, batch, hidden, device),
        )

    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """Returns weights, head and offset."""
        return self.weights, self.head, self.offset

    def common(self, parts: Sequence[Tensor]) -> Tensor:
        """Returns the recurrent weights: how a series enters and is read out stays its own."""
        return parts[0][:, : self.head.shape[1]]

    def silence(self, rows: Tensor) -> None:
        """Makes the networks of `rows` say zero."""
        self.head[rows] = 0.0
        self.offset[rows] = 0.0

    def rewind(self) -> None:
        """Forgets the samples seen."""
        self._tape.rewind()

    def say(self, inputs: Tensor) -> Tensor:
        """Returns what comes out after each input, from a fresh state."""
        steps, series, batch = inputs.shape
        tape = self._other_tape
        if tape is None or tape.gates.shape[:3] != inputs.shape:
            tape = _Tape.blank(steps, series, batch, self.head.shape[1], inputs.device)
            self._other_tape = tape
        tape.rewind()
        return self._forward(tape, inputs, self.head[:, None])

    def gradients(
        self, inputs: Tensor, blame: Callable[[Tensor], Tensor], kept: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the gradient of each part over a chunk."""
        reading = self.head[:, None] if kept is None else self.head[:, None] * kept
        said = self._forward(self._tape, inputs, reading)
        gradients = self._backward(self._tape, blame(said), reading, kept)
        self._tape.carry(len(inputs))
        return gradients

    def _forward(self, tape: _Tape, inputs: Tensor, reading: Tensor) -> Tensor:
        """Returns what the networks say after each input of [k, S, B], and fills the tape."""
        steps = len(inputs)
        hidden = self.head.shape[1]
        tape.states[:steps, ..., hidden] = inputs
        for step in range(steps):
            gates = tape.gates[step]
            torch.bmm(tape.states[step], self.weights, out=gates)
            gates[..., : 3 * hidden].sigmoid_()
            gates[..., 3 * hidden :].tanh_()
            admit, keep, show, candidate = gates.chunk(4, dim=-1)
            memory = tape.memories[step + 1]
            torch.mul(keep, tape.memories[step], out=memory)
            memory.addcmul_(admit, candidate)
            torch.tanh(memory, out=tape.squashed[step])
            torch.mul(show, tape.squashed[step], out=tape.states[step + 1, ..., :hidden])
        shown = tape.states[1 : steps + 1, ..., :hidden]
        return (shown * reading).sum(-1) + self.offset[:, None]

    def _backward(
        self, tape: _Tape, blame: Tensor, reading: Tensor, kept: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns gradients of the parameters, given the loss's by what was said, [k, S, B].

        Gates on the tape become their gradients in place.
        """
        hidden, steps = self.head.shape[1], len(blame)
        through_sigmoid = torch.ops.aten.sigmoid_backward.grad_input
        through_tanh = torch.ops.aten.tanh_backward
        weights = torch.zeros_like(self.weights)
        recurrent = self.weights[:, :hidden].transpose(1, 2)
        by_state = torch.zeros_like(tape.memories[0])
        by_memory = torch.zeros_like(tape.memories[0])
        by_gates = torch.empty_like(tape.gates[0])
        by_admit, by_keep, by_show, by_candidate = by_gates.chunk(4, dim=-1)
        for step in range(steps - 1, -1, -1):
            by_state.addcmul_(blame[step][..., None], reading)
            gates, squashed = tape.gates[step], tape.squashed[step]
            admit, keep, show, candidate = gates.chunk(4, dim=-1)
            by_memory += through_tanh(by_state * show, squashed)
            torch.mul(by_memory, candidate, out=by_admit)
            torch.mul(by_memory, tape.memories[step], out=by_keep)
            torch.mul(by_state, squashed, out=by_show)
            torch.mul(by_memory, admit, out=by_candidate)
            by_memory *= keep
            sigmoids = slice(None, 3 * hidden)
            through_sigmoid(
                by_gates[..., sigmoids], gates[..., sigmoids], grad_input=gates[..., sigmoids]
            )
            torch.ops.aten.tanh_backward.grad_input(by_candidate, candidate, grad_input=candidate)
            weights.baddbmm_(tape.states[step].transpose(1, 2), gates)
            torch.bmm(gates, recurrent, out=by_state)
        shown = tape.states[1 : steps + 1, ..., :hidden]
        read = shown if kept is None else shown * kept
        head = torch.einsum("ksb,ksbh->sh", blame, read)
        return weights, head, blame.sum(dim=(0, 2))
