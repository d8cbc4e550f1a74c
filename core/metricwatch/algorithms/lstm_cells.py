"""The parameters of a bank of recurrent networks: what training gives and scoring takes."""

from __future__ import annotations

from dataclasses import dataclass

from metricwatch.algorithms.autoregressive_state import FloatArray32


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Parameters of S networks with H hidden units each; gates in the order i, f, o, g.

    Attributes:
        recurrent: float32[S, H, 4H].
        entry: float32[S, 4H], weights of the one input.
        bias: float32[S, 4H].
        head: float32[S, H], from the hidden state to the correction; zero where switched off.
        offset: float32[S].
    """

    recurrent: FloatArray32
    entry: FloatArray32
    bias: FloatArray32
    head: FloatArray32
    offset: FloatArray32

    @property
    def hidden(self) -> int:
        """H."""
        return int(self.recurrent.shape[1])
