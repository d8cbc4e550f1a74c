"""The recurrent networks of a bank as they score: in few bytes, and all of them at a time.

The recurrent weights, nearly all of a network, are kept as `network_weights` says. Everything else
is folded so that a tick takes few passes: sigmoid(z) is (1 + tanh(z / 2)) / 2, so that one tanh
serves all gates; halves and doubles are in the parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms.autoregressive_state import FloatArray32
from metricwatch.algorithms.base import Header, Tensors, take_tensor
from metricwatch.algorithms.network_weights import (
    CLIP,
    SCRATCH_BYTES,
    as_floats,
    blocks,
    from_text,
    rounded,
    to_text,
)

_MOST_HIDDEN = 1024
_BLOCK = 512


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Parameters of S networks with H hidden units each; gates in the order i, f, o, g.

    The first three gates are given by the half of what enters them, and hidden states are doubled.

    Attributes:
        recurrent: int8[S, H, 4H], or int8[1, H, 4H] that all series share.
        step: float32[S, 4H], what a 1 in each column stands for.
        entry: float32[S, 4H], weights of the one input.
        bias: float32[S, 4H].
        head: float32[S, H], from the hidden state to the correction; zero where switched off.
        offset: float32[S].
    """

    recurrent: NDArray[np.int8]
    step: FloatArray32
    entry: FloatArray32
    bias: FloatArray32
    head: FloatArray32
    offset: FloatArray32

    @property
    def series(self) -> int:
        """S."""
        return len(self.head)

    @property
    def hidden(self) -> int:
        """H."""
        return int(self.recurrent.shape[1])

    @property
    def shared(self) -> bool:
        """Whether all series have the same recurrent weights, which are in the header then."""
        return len(self.recurrent) != self.series

    @classmethod
    def of_weights(
        cls, weights: FloatArray32, head: FloatArray32, offset: FloatArray32, *, shared: bool
    ) -> Self:
        """Returns networks as they were trained, rounded and folded.

        Args:
            weights: float32[S, H + 2, 4H], the last two rows for the input and the constant 1.
            head: float32[S, H].
            offset: float32[S].
            shared: the first H rows are the same for all S.
        """
        series, hidden = head.shape
        recurrent, step = rounded(weights[:1, :hidden] if shared else weights[:, :hidden])
        fold = np.full(4 * hidden, 0.5, dtype=np.float32)
        fold[3 * hidden :] = 1.0
        return cls(
            recurrent=recurrent,
            step=np.repeat(0.5 * fold * step, series if shared else 1, axis=0),
            entry=fold * weights[:, hidden],
            bias=fold * weights[:, hidden + 1],
            head=0.5 * head,
            offset=offset,
        )

    def header(self) -> dict[str, Any]:
        """Returns the size, and what series have in common."""
        common = to_text(self.recurrent) if self.shared else None
        return {"hidden": self.hidden, "shared": common}

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Returns what is each series' own."""
        own = {} if self.shared else {"recurrent": self.recurrent}
        return own | {
            "step": self.step,
            "entry": self.entry,
            "cell_bias": self.bias,
            "head": self.head,
            "offset": self.offset,
        }

    @classmethod
    def restore(cls, header: Header, tensors: Tensors, series: int) -> Self:
        """Returns the networks that `header` and `tensors` describe.

        Raises:
            TypeError, ValueError: they do not fit together.
        """
        hidden, common = header.get("hidden"), header.get("shared")
        if not isinstance(hidden, int) or not 1 <= hidden <= _MOST_HIDDEN:
            raise ValueError(f"hidden is {hidden!r}, expected 1 to {_MOST_HIDDEN}")
        if common is None:
            shape = (series, hidden, 4 * hidden)
            recurrent = take_tensor(tensors, "recurrent", shape, np.int8)
        else:
            recurrent = from_text(common, (1, hidden, 4 * hidden))
        return cls(
            recurrent=recurrent,
            step=take_tensor(tensors, "step", (series, 4 * hidden), np.float32),
            entry=take_tensor(tensors, "entry", (series, 4 * hidden), np.float32),
            bias=take_tensor(tensors, "cell_bias", (series, 4 * hidden), np.float32),
            head=take_tensor(tensors, "head", (series, hidden), np.float32),
            offset=take_tensor(tensors, "offset", (series,), np.float32),
        )


class Recurrence:
    """The carried state of S networks."""

    __slots__ = ("_at_once", "_cells", "_common", "_hidden", "_memory")

    def __init__(self, cells: Cells) -> None:
        """Starts with nothing seen."""
        self._cells = cells
        self._hidden = np.zeros((cells.series, 1, cells.hidden), dtype=np.float32)
        self._memory = np.zeros((cells.series, cells.hidden), dtype=np.float32)
        self._at_once = _BLOCK
        self._common: FloatArray32 | None = None
        if cells.shared:
            self._common = cells.recurrent[0].astype(np.float32)
        else:
            self._at_once = max(1, SCRATCH_BYTES // (16 * cells.hidden**2))

    def step(self, taken: FloatArray32) -> FloatArray32:
        """Returns what is said of the next sample, in ordinary residuals, then takes it in.

        Args:
            taken: float32[S], in scales.
        """
        said = self._say(slice(None))
        entering = np.clip(taken, -CLIP, CLIP)
        for rows in blocks(0, self._cells.series, _BLOCK):
            self._activate(rows, self._gates(rows), entering[rows])
        return said

    def run(self, taken: FloatArray32) -> FloatArray32:
        """Returns what one step for each tick of float32[S, T] gives, and advances as much."""
        said = np.empty_like(taken)
        entering = np.ascontiguousarray(np.clip(taken, -CLIP, CLIP).T)
        for rows in blocks(0, self._cells.series, self._at_once):
            weights = self._weights(rows)
            for tick, samples in enumerate(entering[:, rows]):
                said[rows, tick] = self._say(rows)
                self._activate(rows, self._product(rows, weights), samples)
        return said

    def _say(self, rows: slice) -> FloatArray32:
        cells = self._cells
        said: FloatArray32 = np.vecdot(self._hidden[rows, 0], cells.head[rows])
        said += cells.offset[rows]
        return np.clip(said, -CLIP, CLIP, out=said)

    def _gates(self, rows: slice) -> FloatArray32:
        """Returns what the hidden states of `rows` bring to the gates, in steps: [n, 4H]."""
        gates = np.empty((rows.stop - rows.start, 4 * self._cells.hidden), dtype=np.float32)
        for part in blocks(rows.start, rows.stop, self._at_once):
            own = slice(part.start - rows.start, part.stop - rows.start)
            gates[own] = self._product(part, self._weights(part))
        return gates

    def _weights(self, rows: slice) -> FloatArray32:
        """Returns the recurrent weights of `rows`, in steps; the next call overwrites them."""
        if self._common is not None:
            return self._common
        return as_floats(self._cells.recurrent[rows])

    def _product(self, rows: slice, weights: FloatArray32) -> FloatArray32:
        """Returns what hidden states bring to the gates, float32[n, 4H]."""
        hidden = self._hidden[rows]
        product: FloatArray32 = (
            np.matmul(hidden, weights)[:, 0]
            if self._common is None
            else np.matmul(hidden[:, 0], weights)
        )
        return product

    def _activate(self, rows: slice, gates: FloatArray32, entering: FloatArray32) -> None:
        """Moves the networks of `rows` on by one input, float32[n]; overwrites `gates`."""
        cells, hidden = self._cells, self._cells.hidden
        gates *= cells.step[rows]
        gates += entering[:, None] * cells.entry[rows]
        gates += cells.bias[rows]
        np.tanh(gates, out=gates)
        gates[:, : 3 * hidden] += 1.0
        admit, keep, show, candidate = (
            gates[:, at : at + hidden] for at in range(0, 4 * hidden, hidden)
        )
        memory = self._memory[rows]
        memory *= keep
        candidate *= admit
        memory += candidate
        memory *= 0.5
        np.tanh(memory, out=candidate)
        np.multiply(show, candidate, out=self._hidden[rows, 0])
