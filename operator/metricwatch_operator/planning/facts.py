"""What the status of a model is made from: one look at it, and what was decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from metricwatch.store.rows import Version
from metricwatch_operator.observed import Observed, Problem
from metricwatch_operator.planning.desired import Desired
from metricwatch_operator.planning.health import Health
from metricwatch_operator.planning.versions import Decision


@dataclass(frozen=True, slots=True)
class Facts:
    """What the status of a model is made from."""

    observed: Observed
    desired: Desired
    decision: Decision
    healths: Mapping[str, Health]
    now: datetime

    @property
    def versions(self) -> tuple[Version, ...]:
        """Newest first."""
        return self.observed.overview.versions if self.observed.overview else ()

    @property
    def serving(self) -> Version | None:
        """The version that serves."""
        return self.observed.overview.serving if self.observed.overview else None

    @property
    def problem(self) -> Problem | None:
        """Why the spec cannot be brought about."""
        return self.desired.problem or self.observed.memory.refusal

    @property
    def is_suspended(self) -> bool:
        """Whether the model is suspended."""
        return self.desired.model is not None and self.desired.model.spec.suspend
