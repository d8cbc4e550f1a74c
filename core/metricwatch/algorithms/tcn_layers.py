"""Temporal convolutional networks of a bank as they score: one tick of all of them, or a history.

Each layer looks at what the layer below said now and some samples ago, twice as long ago as the
layer below it does (van den Oord et al. 2016; Bai, Kolter & Koltun 2018), and adds what it makes
of it. A tick costs one small product a layer, because what a layer said stays in a ring until the
layer above needs it.
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

_MOST_CHANNELS = 256
MOST_LAYERS = 10
_BLOCK_VALUES = 1 << 19


def dilation(layer: int) -> int:
    """Returns how many samples ago the older of a layer's two inputs is; layers count from 0."""
    return 1 << layer


def receptive_field(layers: int) -> int:
    """Returns how many samples a network of so many layers looks at."""
    return 1 << layers


@dataclass(frozen=True, slots=True, eq=False)
class Layers:
    """Parameters of S networks with L layers of C channels.

    Attributes:
        mixing: int8[S, L, 2C, C], or int8[1, L, 2C, C] that all series share; the first C rows
            belong to the older input.
        step: float32[S, L, C], what a 1 in each column stands for.
        bias: float32[S, L, C].
        entry: float32[S, 2, C], weight of the sample, and a constant.
        head: float32[S, C], from the last layer to the correction; zero where switched off.
        offset: float32[S].
    """

    mixing: NDArray[np.int8]
    step: FloatArray32
    bias: FloatArray32
    entry: FloatArray32
    head: FloatArray32
    offset: FloatArray32

    @property
    def series(self) -> int:
        """S."""
        return len(self.head)

    @property
    def layers(self) -> int:
        """L."""
        return int(self.mixing.shape[1])

    @property
    def channels(self) -> int:
        """C."""
        return int(self.mixing.shape[3])

    @property
    def shared(self) -> bool:
        """Whether all series have the same mixing weights, which are in the header then."""
        return len(self.mixing) != self.series

    @classmethod
    def of_weights(
        cls,
        mixing: FloatArray32,
        bias: FloatArray32,
        entry: FloatArray32,
        head: FloatArray32,
        offset: FloatArray32,
        *,
        shared: bool,
    ) -> Self:
        """Returns networks as they were trained, mixing float32[S, L, 2C, C] rounded."""
        whole, step = rounded(mixing[:1] if shared else mixing)
        return cls(
            mixing=whole,
            step=np.repeat(step, len(head) if shared else 1, axis=0),
            bias=bias,
            entry=entry,
            head=head,
            offset=offset,
        )

    def header(self) -> dict[str, Any]:
        """Returns the sizes, and what series have in common."""
        common = to_text(self.mixing) if self.shared else None
        return {"channels": self.channels, "layers": self.layers, "shared": common}

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Returns what is each series' own."""
        own = {} if self.shared else {"mixing": self.mixing}
        return own | {
            "step": self.step,
            "layer_bias": self.bias,
            "entry": self.entry,
            "head": self.head,
            "offset": self.offset,
        }

    @classmethod
    def restore(cls, header: Header, tensors: Tensors, series: int) -> Self:
        """Returns the networks that `header` and `tensors` describe.

        Raises:
            TypeError, ValueError: they do not fit together.
        """
        channels, layers = header.get("channels"), header.get("layers")
        if not isinstance(channels, int) or not 1 <= channels <= _MOST_CHANNELS:
            raise ValueError(f"channels is {channels!r}, expected 1 to {_MOST_CHANNELS}")
        if not isinstance(layers, int) or not 1 <= layers <= MOST_LAYERS:
            raise ValueError(f"layers is {layers!r}, expected 1 to {MOST_LAYERS}")
        common, shape = header.get("shared"), (layers, 2 * channels, channels)
        if common is None:
            mixing = take_tensor(tensors, "mixing", (series, *shape), np.int8)
        else:
            mixing = from_text(common, (1, *shape))
        each = (series, layers, channels)
        return cls(
            mixing=mixing,
            step=take_tensor(tensors, "step", each, np.float32),
            bias=take_tensor(tensors, "layer_bias", each, np.float32),
            entry=take_tensor(tensors, "entry", (series, 2, channels), np.float32),
            head=take_tensor(tensors, "head", (series, channels), np.float32),
            offset=take_tensor(tensors, "offset", (series,), np.float32),
        )


class Convolution:
    """The carried state of S networks: for each layer, a ring of what the one below said."""

    __slots__ = ("_at_once", "_networks", "_rings", "_said", "_ticks")

    def __init__(self, networks: Layers) -> None:
        """Starts with nothing seen."""
        self._networks = networks
        series, channels, layers = networks.series, networks.channels, networks.layers
        self._rings = [
            np.zeros((dilation(layer), series, channels), dtype=np.float32)
            for layer in range(layers)
        ]
        self._ticks = 0
        self._said = np.zeros(series, dtype=np.float32)
        self._at_once = max(1, SCRATCH_BYTES // (8 * layers * channels * channels))

    def step(self, taken: FloatArray32) -> FloatArray32:
        """Returns what is said of the next sample, in ordinary residuals, then takes it in.

        Args:
            taken: float32[S], in scales.
        """
        said = self._said.copy()
        entering = np.clip(taken, -CLIP, CLIP)
        for rows in blocks(0, self._networks.series, self._at_once):
            mixing = self._mixing(rows)
            state = self._enter(rows, entering[rows, None])[:, 0]
            for layer, ring in enumerate(self._rings):
                place = ring[self._ticks % dilation(layer), rows]
                inputs = np.concatenate([place, state], axis=1)[:, None]
                place[:] = state
                state = self._layer(rows, layer, mixing, inputs[:, None], state[:, None])[:, 0]
            self._said[rows] = self._say(rows, state[:, None])[:, 0]
        self._ticks += 1
        return said

    def run(self, taken: FloatArray32) -> FloatArray32:
        """Returns what one step for each tick of float32[S, T] gives, and advances as much."""
        series, ticks = taken.shape
        entering = np.clip(taken, -CLIP, CLIP)
        outputs = np.empty((series, ticks + 1), dtype=np.float32)
        outputs[:, 0] = self._said
        self._align()
        for rows in blocks(0, series, self._at_once):
            mixing = self._mixing(rows)
            width = 2 * self._networks.channels * (rows.stop - rows.start)
            for part in blocks(0, ticks, max(16, _BLOCK_VALUES // width)):
                told = self._run_block(rows, mixing, entering[rows, part])
                outputs[rows, part.start + 1 : part.stop + 1] = told
        self._said = outputs[:, -1].copy()
        return outputs[:, :-1]

    def _align(self) -> None:
        """Turns every ring so that its oldest entry is the first."""
        for layer, ring in enumerate(self._rings):
            self._rings[layer] = np.roll(ring, -(self._ticks % dilation(layer)), axis=0)
        self._ticks = 0

    def _run_block(
        self, rows: slice, mixing: FloatArray32, entering: FloatArray32
    ) -> FloatArray32:
        """Returns what is said after each of float32[n, t], and moves aligned rings on."""
        ticks = entering.shape[1]
        state = self._enter(rows, entering)
        for layer, ring in enumerate(self._rings):
            before = ring[:, rows].transpose(1, 0, 2)
            whole = np.concatenate([before, state], axis=1)
            inputs = np.concatenate([whole[:, :ticks], state], axis=2)[:, :, None]
            ring[:, rows] = whole[:, ticks:].transpose(1, 0, 2)
            state = self._layer(rows, layer, mixing, inputs, state)
        return self._say(rows, state)

    def _mixing(self, rows: slice) -> FloatArray32:
        mixing = self._networks.mixing
        return as_floats(mixing if self._networks.shared else mixing[rows])

    def _enter(self, rows: slice, entering: FloatArray32) -> FloatArray32:
        """Returns float32[n, t, C] of inputs float32[n, t]."""
        entry = self._networks.entry[rows, :, None]
        state: FloatArray32 = entering[..., None] * entry[:, 0] + entry[:, 1]
        return state

    def _layer(
        self,
        rows: slice,
        layer: int,
        mixing: FloatArray32,
        inputs: FloatArray32,
        state: FloatArray32,
    ) -> FloatArray32:
        """Returns what a layer says, float32[n, t, C], to inputs [n, t, 1, 2C].

        One small product for each tick, so that a history gives to the bit what steps give.
        """
        networks = self._networks
        made: FloatArray32 = np.matmul(inputs, mixing[:, layer, None])[:, :, 0]
        made *= networks.step[rows, layer, None]
        made += networks.bias[rows, layer, None]
        np.tanh(made, out=made)
        made += state
        return made

    def _say(self, rows: slice, state: FloatArray32) -> FloatArray32:
        """Returns float32[n, t] of the last layer, [n, t, C]."""
        networks = self._networks
        said: FloatArray32 = np.vecdot(state, networks.head[rows, None])
        said += networks.offset[rows, None]
        return np.clip(said, -CLIP, CLIP, out=said)
