"""Which channels make which system, arranged so that no system is looked at alone.

Systems with equally many channels are looked at together, as one array [systems, channels, ...]:
nothing is padded, and a thousand servers with the same 38 metrics cost one pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Systems of the same size.

    Attributes:
        systems: int64[g], which systems these are.
        channels: int64[g, C], the channels of each, ascending.
    """

    systems: Indices
    channels: Indices


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """S channels of G systems.

    Attributes:
        members: int64[S], the system of each channel.
        systems: G.
        batches: every system once, grouped by its number of channels.
    """

    members: Indices
    systems: int
    batches: tuple[Batch, ...]

    @classmethod
    def of(cls, members: NDArray[Any]) -> Self:
        """Returns the layout of channels that belong to these systems.

        Args:
            members: whole numbers [S], each of 0 to G - 1 at least once.

        Raises:
            ValueError: `members` is something else.
        """
        if members.ndim != 1 or not np.issubdtype(members.dtype, np.integer):
            raise ValueError(
                f"members is {members.dtype}{list(members.shape)}, expected whole numbers [S]"
            )
        own = members.astype(np.int64)
        if (own < 0).any() or (own >= len(own)).any():
            raise ValueError(f"members must be systems from 0 to {len(own) - 1}")
        sizes = np.bincount(own)
        if (sizes == 0).any():
            raise ValueError(f"system {int(np.argmin(sizes))} has no channel")
        order = np.argsort(own, kind="stable")
        first = np.cumsum(sizes) - sizes
        batches = []
        for size in np.unique(sizes).tolist():
            systems = np.flatnonzero(sizes == size)
            batches.append(Batch(systems, order[first[systems][:, None] + np.arange(size)]))
        return cls(members=own, systems=len(sizes), batches=tuple(batches))
