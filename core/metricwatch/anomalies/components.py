"""What in a system is to blame: channels ranked, as they stood at one tick."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metricwatch.series import Labels

MOST_COMPONENTS = 10
"""Of an anomaly: who looks for a cause reads no further."""


@dataclass(frozen=True, slots=True)
class Component:
    """A channel that has to do with an anomaly of its system.

    Attributes:
        labels: of the channel.
        deviation: how far it was from what was expected, in typical deviations, below zero when
            it was too low; NaN where that cannot be said.
    """

    labels: Labels
    deviation: float


@dataclass(frozen=True, slots=True, eq=False)
class Blame:
    """How much C channels have to do with what is odd about their systems at one tick.

    Attributes:
        labels: one entry for each channel.
        system: int64[C], the slot of the system of each.
        weight: float64[C], comparable within a system, larger is more.
        deviation: float64[C], in typical deviations, NaN where there is no sample.
    """

    labels: Sequence[Labels]
    system: NDArray[np.int64]
    weight: NDArray[np.float64]
    deviation: NDArray[np.float64]

    def ranked(self, slot: int, *, most: int = MOST_COMPONENTS) -> tuple[Component, ...]:
        """Returns up to `most` channels of the system in a slot, the most to blame first.

        A channel without a sample has nothing to do with it. Nothing for a slot of no system.
        """
        own = np.flatnonzero((self.system == slot) & ~np.isnan(self.deviation))
        order = own[np.argsort(-self.weight[own], kind="stable")[:most]]
        return tuple(Component(self.labels[row], float(self.deviation[row])) for row in order)
