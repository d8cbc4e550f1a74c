"""What a plan may ask for: rows to write, children to make, news to tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from metricwatch.assignments import TrainingRequest, WatchSettings
from metricwatch.resources import VersionState
from metricwatch.store.rows import TakeOver
from metricwatch_operator.objects import Manifest, Ref


@dataclass(frozen=True, slots=True)
class AssignedWatch:
    """A watch's row."""

    uid: str
    namespace: str
    name: str
    generation: int
    settings: WatchSettings


@dataclass(frozen=True, slots=True)
class Assign:
    """Bring the rows of a model and its watches up to date.

    Attributes:
        watches: Rows to write.
        keep: uids of all watches that refer to the model; others are no longer watched by it.
        suspended: whether the model is; it keeps no place in the queue for training then.
        digest: What the rows say, to know later that nothing changed.
    """

    uid: str
    namespace: str
    name: str
    generation: int
    watches: tuple[AssignedWatch, ...]
    keep: tuple[str, ...]
    digest: str
    suspended: bool = False


@dataclass(frozen=True, slots=True)
class CreateVersion:
    """Record a version that is to be trained."""

    model_uid: str
    version: int
    request: TrainingRequest
    attempt: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class SetState:
    """Move a version on."""

    model_uid: str
    version: int
    state: VersionState
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class MarkReady:
    """Record that a candidate could serve: a comparison counts from now."""

    model_uid: str
    version: int


@dataclass(frozen=True, slots=True)
class Serve:
    """Let a version serve, and end the service of the one before.

    Attributes:
        how: what makes it serve; a version that is rolled back becomes Rejected, any other one
            Retired.
        reason: of the version that goes, one word.
        message: about the version that goes, for people.
    """

    model_uid: str
    version: int
    how: TakeOver = TakeOver.PROMOTED
    reason: str = "Superseded"
    message: str = ""


@dataclass(frozen=True, slots=True)
class Prune:
    """Forget all but the newest versions that are over.

    Attributes:
        protect: versions that stay whatever their age: pinned, or still to be rolled back to.
    """

    model_uid: str
    keep: int
    protect: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Forget:
    """Delete everything about a model."""

    model_uid: str


StoreWrite = Assign | CreateVersion | SetState | MarkReady | Serve | Prune | Forget


@dataclass(frozen=True, slots=True)
class News:
    """An event about a resource."""

    subject: Manifest
    reason: str
    message: str
    type: Literal["Normal", "Warning"] = "Normal"


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything to do now, in the order of the fields.

    Attributes:
        writes: To the database.
        finalizer: True to put ours on the model, False to take it off, None to leave it.
        database_secret: The pods that wait to start, by uid, when the Secret with the database URL
            is to be applied beside the model; None to leave it.
        creates: Manifests made once: trainer Jobs.
        applies: Manifests applied: detector Deployments.
        deletions: Children that go.
        statuses: Manifests of statuses, complete.
        news: Events.
        requeue_after: Seconds until the next look, None to wait for an event.
    """

    writes: tuple[StoreWrite, ...] = ()
    finalizer: bool | None = None
    database_secret: frozenset[str] | None = None
    creates: tuple[Mapping[str, Any], ...] = ()
    applies: tuple[Mapping[str, Any], ...] = ()
    deletions: tuple[Ref, ...] = ()
    statuses: tuple[Mapping[str, Any], ...] = ()
    news: tuple[News, ...] = ()
    requeue_after: float | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do now."""
        return self == Plan(requeue_after=self.requeue_after)
