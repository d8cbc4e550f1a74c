"""What the networks of `tcn` compute while they are trained: torch, gradients by autograd.

Samples lie along the second axis with the segments side by side, [S, samples x segments, C], so
that looking back is a view from further up and a layer two batched products.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from metricwatch.algorithms.autoregressive_state import FloatArray32
from metricwatch.algorithms.base import Report, ShouldStop
from metricwatch.algorithms.network_training import Networks, Pace, train_networks
from metricwatch.algorithms.tcn_layers import Layers, dilation, receptive_field
from metricwatch.resources.algorithm import TcnParameters


def train_layers(
    entering: FloatArray32,
    target: FloatArray32,
    parameters: TcnParameters,
    *,
    seed: int,
    progress: Report | None = None,
    should_stop: ShouldStop | None = None,
) -> Layers:
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

    def make(
        series: int, batch: int, chunk: int, generator: torch.Generator, device: torch.device
    ) -> TcnNetworks:
        del chunk
        return TcnNetworks.random(
            series, parameters.layers, parameters.channels, batch, generator, device
        )

    parts = train_networks(
        "tcn",
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
        width=parameters.channels,
        seed=seed,
        progress=progress,
        should_stop=should_stop,
    )
    return Layers.of_weights(*parts, shared=parameters.shared)


class TcnNetworks(Networks):
    """S networks of L layers with C channels."""

    def __init__(self, parts: tuple[Tensor, ...], batch: int) -> None:
        """Takes parameters over.

        Args:
            parts: mixing [S, L, 2C, C], bias [S, L, C], entry [S, 2, C], head [S, C], offset [S].
            batch: segments side by side.
        """
        self._parts = parts
        mixing = parts[0]
        self._layers = mixing.shape[1]
        self._run_up = receptive_field(self._layers) - 1
        self._before = mixing.new_zeros(self._run_up, len(mixing), batch)

    @classmethod
    def random(
        cls,
        series: int,
        layers: int,
        channels: int,
        batch: int,
        generator: torch.Generator,
        device: torch.device,
    ) -> TcnNetworks:
        """Returns small random networks that say nothing yet."""

        def draw(bound: float, *shape: int) -> Tensor:
            return (2.0 * torch.rand(series, *shape, generator=generator) - 1.0) * bound

        parts = (
            draw(1.0 / math.sqrt(2 * channels), layers, 2 * channels, channels),
            torch.zeros(series, layers, channels),
            draw(1.0, 2, channels),
            torch.zeros(series, channels),
            torch.zeros(series),
        )
        return cls(tuple(part.to(device) for part in parts), batch)

    def parts(self) -> tuple[Tensor, ...]:
        """Returns mixing, bias, entry, head and offset."""
        return self._parts

    def common(self, parts: Sequence[Tensor]) -> Tensor:
        """Returns the mixing weights: how a series enters and is read out stays its own."""
        return parts[0]

    def silence(self, rows: Tensor) -> None:
        """Makes the networks of `rows` say zero."""
        _, _, _, head, offset = self._parts
        head[rows] = 0.0
        offset[rows] = 0.0

    def rewind(self) -> None:
        """Forgets the samples seen."""
        self._before.zero_()

    def say(self, inputs: Tensor) -> Tensor:
        """Returns what comes out after each input, from a fresh state."""
        fresh = inputs.new_zeros(self._run_up, *inputs.shape[1:])
        with torch.no_grad():
            return self._forward(self._parts, torch.cat([fresh, inputs]), None)

    def gradients(
        self, inputs: Tensor, blame: Callable[[Tensor], Tensor], kept: Tensor | None
    ) -> tuple[Tensor, ...]:
        """Returns the gradient of each part over a chunk."""
        whole = torch.cat([self._before, inputs])
        self._before = whole[len(inputs) :]
        parts = tuple(part.detach().requires_grad_() for part in self._parts)
        said = self._forward(parts, whole, kept)
        return torch.autograd.grad(said, parts, blame(said.detach()))

    def _forward(self, parts: tuple[Tensor, ...], inputs: Tensor, kept: Tensor | None) -> Tensor:
        """Returns what is said after each of the inputs [R - 1 + k, S, B] but the run-up."""
        mixing, bias, entry, head, offset = parts
        samples, series, batch = inputs.shape
        channels = head.shape[1]
        flat = inputs.permute(1, 0, 2).reshape(series, samples * batch, 1)
        state = torch.addcmul(entry[:, None, 1], flat, entry[:, None, 0])
        for layer in range(self._layers):
            back = dilation(layer) * batch
            now = state[:, back:]
            made = torch.baddbmm(
                bias[:, layer, None], state[:, :-back], mixing[:, layer, :channels]
            )
            made = torch.baddbmm(made, now, mixing[:, layer, channels:])
            state = now + made.tanh()
        shown = state.reshape(series, -1, batch, channels)
        reading = head[:, None, None] if kept is None else head[:, None, None] * kept[:, None]
        said = (shown * reading).sum(-1) + offset[:, None, None]
        return said.permute(1, 0, 2)
