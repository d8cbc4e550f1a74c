"""Everything that one look at a model finds, in one frozen value.

```
informer cache ──► model, watches, jobs, deployments, pods ─┐
PostgreSQL ──────► overview, or the problem with it ────────┼─► Observed ──► plan()
this process ────► what it wrote and what was refused ──────┘
```

`plan` sees nothing else but the time and the configuration, so two looks that find the same give
the same plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from metricwatch.store.rows import Comparison, ModelOverview
from metricwatch_operator.objects import Manifest


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it should be: one CamelCase word, and a sentence for people."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Memory:
    """What this process did before; forgetting it costs requests that change nothing.

    Attributes:
        assignments: Hash of the rows for model and watches that were written last.
        database_secret: The Secret with the database URL was applied and its content is unchanged.
        provided: uids of the pods that waited to start when it was applied last.
        refusal: What the API server said to the last plan, when it refused a child for good.
    """

    assignments: str = ""
    database_secret: bool = False
    provided: frozenset[str] = frozenset()
    refusal: Problem | None = None


@dataclass(frozen=True, slots=True)
class Observed:
    """One look at a model, or at the name of one that watches refer to.

    Attributes:
        namespace: Of the model.
        name: Of the model.
        model: The AnomalyModel; None when there is none of this name.
        watches: MetricWatches that refer to the name.
        jobs: Trainer Jobs with the model's label.
        deployments: Detector Deployments with the model's label.
        pods: Pods of both.
        overview: The model in the database; None when it has no row or the database is away.
        comparison: Of two versions that score side by side, when the model has two that should be
            compared and there is something to compare.
        store_problem: Why the database could not be read.
        memory: What this process did before.
    """

    namespace: str
    name: str
    model: Manifest | None = None
    watches: tuple[Manifest, ...] = ()
    jobs: tuple[Manifest, ...] = ()
    deployments: tuple[Manifest, ...] = ()
    pods: tuple[Manifest, ...] = ()
    overview: ModelOverview | None = None
    comparison: Comparison | None = None
    store_problem: Problem | None = None
    memory: Memory = field(default_factory=Memory)

    @property
    def is_deleting(self) -> bool:
        """Whether the model is being deleted."""
        return self.model is not None and "deletionTimestamp" in metadata_of(self.model)


def metadata_of(manifest: Manifest) -> Mapping[str, object]:
    """The metadata of a manifest."""
    metadata: Mapping[str, object] = manifest["metadata"]
    return metadata
