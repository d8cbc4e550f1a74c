"""What is about to happen to the versions of a model, gathered rule by rule."""

from __future__ import annotations

from dataclasses import dataclass, field

from metricwatch.resources import VersionState
from metricwatch.store.rows import Version
from metricwatch_operator.planning.actions import SetState, StoreWrite
from metricwatch_operator.planning.policies import Violation
from metricwatch_operator.planning.rollouts import Rollout


@dataclass(slots=True)
class Moves:
    """Gathered while one look at a model is thought through.

    Attributes:
        uid: Of the model.
        writes: To the database.
        news: Pairs of reason and sentence, for events.
        train: The version whose Job should be there.
        detect: Versions whose detectors should be there.
        rollouts: Their detectors, by version.
        waits: Why the contender does not serve yet.
        look_in: Seconds after which time alone changes something.
    """

    uid: str
    writes: list[StoreWrite] = field(default_factory=list)
    news: list[tuple[str, str]] = field(default_factory=list)
    train: Version | None = None
    detect: tuple[Version, ...] = ()
    rollouts: dict[int, Rollout] = field(default_factory=dict)
    waits: Violation | None = None
    look_in: list[float] = field(default_factory=list)

    def set_state(
        self, version: Version, state: VersionState, *, reason: str = "", message: str = ""
    ) -> None:
        """Moves a version on."""
        self.writes.append(SetState(self.uid, version.version, state, reason, message))

    def tell(self, reason: str, message: str) -> None:
        """Makes an event."""
        self.news.append((reason, message))
