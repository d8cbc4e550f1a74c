"""What a simulation is: series with a value at every tick, and incidents that change them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Times = NDArray[np.int64]
Labels = dict[str, str]

DAY = 86_400


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that goes wrong from `since` on (unix seconds), in series with labels `where`."""

    kind: str
    magnitude: float
    since: int
    where: Labels

    def concerns(self, labels: Labels) -> bool:
        """Return whether a series with these labels is affected."""
        return self.where.items() <= labels.items()


class Signals(Protocol):
    """S series with a value at every tick."""

    labels: list[Labels]
    interval: int

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return the kinds of incident there are."""
        ...

    def values(self, times: Times) -> Floats:
        """Return float64[S, T], NaN where a series has nothing."""
        ...

    def disturb(self, values: Floats, incident: Incident) -> Floats:
        """Return the values as the incident makes them."""
        ...
