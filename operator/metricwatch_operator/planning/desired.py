"""What a model and its watches ask for: sources, settings and training request resolved.

A watch that cannot be brought about (invalid, not supported, without a source) keeps what was
accepted of it before: its row stays as it is and the model goes on learning from what it asked for
last. So a mistake in one watch neither stops its detection nor trains the model anew, and other
watches go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from metricwatch.assignments import TrainingRequest, TrainingWatch, WatchQuery, WatchSettings
from metricwatch.resources import (
    AnomalyModel,
    InvalidResource,
    MetricWatch,
    Reason,
    Source,
    SourceType,
    parse_model,
    parse_watch,
)
from metricwatch.resources.support import unsupported
from metricwatch.sources.allowed import is_allowed, refusal
from metricwatch.sources.config import SourceConfig
from metricwatch_operator.objects import Manifest
from metricwatch_operator.observed import Observed, Problem
from metricwatch_operator.planning.config import Config
from metricwatch_operator.planning.crowding import too_many, turned_away
from metricwatch_operator.planning.pods import SOURCES_DIRECTORY


@dataclass(frozen=True, slots=True)
class DesiredWatch:
    """One watch.

    Attributes:
        manifest: As it was read.
        watch: None when it is invalid.
        settings: For its row; None when there is a problem.
        data: Its part of a training request; of an earlier request when there is a problem, None
            when there never was one.
        problem: Why it cannot be brought about.
    """

    manifest: Manifest
    watch: MetricWatch | None
    settings: WatchSettings | None
    data: TrainingWatch | None
    problem: Problem | None

    @property
    def uid(self) -> str:
        """Its Kubernetes uid."""
        return str(self.manifest["metadata"]["uid"])

    @property
    def is_turned_away(self) -> bool:
        """Whether its model has as many watches as it takes without it."""
        return self.problem is not None and self.problem.reason == Reason.TOO_MANY_WATCHES


@dataclass(frozen=True, slots=True)
class Desired:
    """What a model and its watches ask for.

    Attributes:
        model: None when there is none, or it is invalid.
        problem: Why the model cannot be brought about as it is now.
        watches: By name.
        request: None when nothing can be learned: a problem, or no watch.
    """

    model: AnomalyModel | None
    problem: Problem | None
    watches: tuple[DesiredWatch, ...]
    request: TrainingRequest | None

    @property
    def source_secrets(self) -> tuple[str, ...]:
        """Secrets that detectors need, sorted."""
        sources = [watch.settings or watch.data for watch in self.watches]
        names = {data.source.auth_secret for data in sources if data is not None}
        return tuple(sorted(name for name in names if name))


def read_desired(observed: Observed, config: Config) -> Desired:
    """Parses and resolves everything that was observed of the specs."""
    model, problem = _parse_model(observed.model)
    accepted = _accepted_before(observed)
    base = (model.spec.source if model else Source()).over(config.default_source)
    rows = observed.overview.watches if observed.overview else ()
    beyond = turned_away(observed.watches, known={row.uid for row in rows})
    crowded = too_many(observed.name)
    watches = tuple(
        DesiredWatch(manifest, None, None, None, crowded)
        if manifest["metadata"]["uid"] in beyond
        else _read_watch(manifest, base=base, accepted=accepted, hosts=config.allowed_source_hosts)
        for manifest in observed.watches
    )
    data = tuple(watch.data for watch in watches if watch.data is not None)
    request = None
    if model is not None and problem is None and data:
        request = TrainingRequest(
            algorithm=model.spec.algorithm,
            scope=model.spec.scope,
            training=model.spec.training,
            tuning=model.spec.tuning,
            watches=data,
        )
    return Desired(model=model, problem=problem, watches=watches, request=request)


def request_secrets(request: Mapping[str, Any]) -> tuple[str, ...]:
    """Secrets that a stored training request needs, sorted."""
    names = {watch.get("source", {}).get("authSecret") for watch in request.get("watches", ())}
    return tuple(sorted(name for name in names if name))


def _parse_model(manifest: Manifest | None) -> tuple[AnomalyModel | None, Problem | None]:
    if manifest is None:
        return None, None
    try:
        model = parse_model(manifest)
    except InvalidResource as error:
        return None, Problem(Reason.INVALID_SPEC, _sentences(error.problems))
    missing = unsupported(model.spec)
    return model, Problem(Reason.NOT_SUPPORTED, _sentences(missing)) if missing else None


def _read_watch(
    manifest: Manifest,
    *,
    base: Source,
    accepted: Mapping[str, TrainingWatch],
    hosts: Sequence[str],
) -> DesiredWatch:
    before = accepted.get(str(manifest["metadata"]["uid"]))
    try:
        watch = parse_watch(manifest)
    except InvalidResource as error:
        problem = Problem(Reason.INVALID_SPEC, _sentences(error.problems))
        return DesiredWatch(manifest, None, None, before, problem)
    missing = unsupported(watch.spec)
    if missing:
        problem = Problem(Reason.NOT_SUPPORTED, _sentences(missing))
        return DesiredWatch(manifest, watch, None, before, problem)
    source = _resolve_source(watch.spec.source.over(base), hosts=hosts)
    if isinstance(source, Problem):
        return DesiredWatch(manifest, watch, None, before, source)
    settings = _settings(watch, source)
    return DesiredWatch(manifest, watch, settings, _training_watch(watch, settings), None)


def _resolve_source(source: Source, *, hosts: Sequence[str]) -> SourceConfig | Problem:
    kind = source.type or SourceType.PROMETHEUS
    if source.url is None and kind is not SourceType.SIMULATION:
        return Problem(
            Reason.SOURCE_MISSING,
            "no source: set spec.source.url of the watch or of its model, "
            "or a default source in the operator's configuration",
        )
    if kind is not SourceType.SIMULATION and not is_allowed(source.url or "", hosts):
        return Problem(Reason.SOURCE_NOT_ALLOWED, refusal(source.url or "", hosts))
    secret = source.auth_ref.name if source.auth_ref else None
    try:
        return SourceConfig(
            type=kind,
            url=source.url or "",
            tenant=source.tenant or "",
            headers=source.headers or {},
            auth_directory=f"{SOURCES_DIRECTORY}/{secret}" if secret else None,
            auth_secret=secret,
        )
    except ValidationError as error:
        return Problem(
            Reason.INVALID_SPEC, "; ".join(f"spec.source: {one['msg']}" for one in error.errors())
        )


def _settings(watch: MetricWatch, source: SourceConfig) -> WatchSettings:
    spec = watch.spec
    if spec.query is not None:
        queries: Sequence[WatchQuery] = (WatchQuery(expr=spec.query),)
    else:
        queries = tuple(WatchQuery(name=query.name, expr=query.expr) for query in spec.queries)
    return WatchSettings(
        queries=tuple(queries),
        source=source,
        interval_seconds=int(spec.interval.seconds),
        delay_seconds=int(spec.delay.seconds),
        max_series=spec.max_series,
        group_by=spec.group_by,
        system=spec.system or spec.model_ref.name,
        detection=spec.detection,
        suspend=spec.suspend,
    )


def _training_watch(watch: MetricWatch, settings: WatchSettings) -> TrainingWatch:
    return TrainingWatch(
        uid=watch.metadata.uid,
        namespace=watch.metadata.namespace,
        name=watch.metadata.name,
        queries=settings.queries,
        source=settings.source,
        interval_seconds=settings.interval_seconds,
        delay_seconds=settings.delay_seconds,
        max_series=settings.max_series,
        group_by=settings.group_by,
    )


def _accepted_before(observed: Observed) -> dict[str, TrainingWatch]:
    """Watches of the newest training request, by uid; those that cannot be read are left out."""
    if observed.overview is None or not observed.overview.versions:
        return {}
    found = {}
    for row in observed.overview.versions[0].request.get("watches", ()):
        try:
            watch = TrainingWatch.from_row(row)
        except ValidationError:
            continue
        found[watch.uid] = watch
    return found


def _sentences(problems: Iterable[tuple[str, str]]) -> str:
    return "; ".join(f"{path}: {message}" if path else message for path, message in problems)
