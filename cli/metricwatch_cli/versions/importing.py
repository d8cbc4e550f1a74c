"""`metricwatch versions import`: an exported version becomes one of a model of this database."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from metricwatch.artifact import pack, sha256
from metricwatch.assignments import TrainingRequest
from metricwatch.store.importing import import_version
from metricwatch.store.pool import Database
from metricwatch.store.rows import Artifact, ModelOverview, TrainingResult, WatchOverview
from metricwatch_cli.backtest.problems import WrongInput
from metricwatch_cli.terminal import as_json
from metricwatch_cli.versions.archive import Archive, open_archive
from metricwatch_cli.versions.asking import find_model, opened


async def run(options: argparse.Namespace) -> str:
    """Check the archive and store it; say how to let it serve."""
    with open_archive(options.archive) as archive:
        async with opened(options) as database:
            overview = await find_model(database, options)
            matched = match_watches(archive.manifest.asked(), overview.watches)
            name = f"{overview.namespace}/{overview.name}"
            if not matched.uids:
                raise WrongInput(
                    f"none of its watches ({', '.join(matched.unknown)}) refers to model {name}: "
                    "make a MetricWatch of one of these names first"
                )
            version = await _store(database, overview, archive, matched)
    if options.output == "json":
        return as_json({"version": version, "unknownWatches": list(matched.unknown)})
    lines = [f"version {version} of {name} is imported; to let it serve, pin it:"]
    lines.append(
        f"  kubectl patch anomalymodel {overview.name} --namespace {overview.namespace} "
        f'--type merge --patch \'{{"spec":{{"version":{version}}}}}\''
    )
    if matched.unknown:
        lines.append(f"without a watch here, and of no use: {', '.join(matched.unknown)}")
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Matched:
    """Which watches of an archive are which of a model.

    Attributes:
        uids: those of the model by those of the archive.
        unknown: names of watches that the model does not have.
    """

    uids: Mapping[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()


def match_watches(request: TrainingRequest, present: Sequence[WatchOverview]) -> Matched:
    """Matches watches by uid, or by name: in another cluster the same manifest has another uid."""
    by_uid = {one.uid: one.uid for one in present}
    by_name = {one.name: one.uid for one in present}
    by_full_name = {(one.namespace, one.name): one.uid for one in present}
    uids: dict[str, str] = {}
    unknown = []
    for watch in request.watches:
        found = (
            by_uid.get(watch.uid)
            or by_full_name.get((watch.namespace, watch.name))
            or by_name.get(watch.name)
        )
        if found is None or found in uids.values():
            unknown.append(watch.name)
        else:
            uids[watch.uid] = found
    return Matched(uids, tuple(unknown))


async def _store(
    database: Database, overview: ModelOverview, archive: Archive, matched: Matched
) -> int:
    manifest = archive.manifest
    request = rename_in_request(manifest.request, matched.uids)
    source = manifest.model
    async with database.acquire() as connection:
        return await import_version(
            connection,
            model_id=overview.id,
            request=request,
            request_hash=TrainingRequest.from_row(request).fingerprint(),
            result=TrainingResult(
                window_start=manifest.window_start,
                window_end=manifest.window_end,
                data_hash=manifest.data_hash,
                seed=manifest.seed,
                code_version=manifest.code_version,
                report=rename_in_report(manifest.report, matched.uids),
            ),
            trained_at=manifest.trained_at,
            artifacts=_artifacts(archive, matched.uids),
            message=f"was version {source.version} of {source.namespace}/{source.name}",
        )


def _artifacts(archive: Archive, uids: Mapping[str, str]) -> Iterator[Artifact]:
    """The chunks, under the uids that their watches have here."""
    for number, (entry, chunk) in enumerate(archive.chunks()):
        watch_uid = uids.get(chunk.watch_uid, chunk.watch_uid)
        content = pack(replace(chunk, watch_uid=watch_uid))
        yield Artifact(
            shard=entry.shard,
            chunk=number,
            family=chunk.family,
            watch_uid=watch_uid,
            series=chunk.series,
            sha256=bytes.fromhex(sha256(content)),
            content=content,
        )


def rename_in_request(request: Mapping[str, Any], uids: Mapping[str, str]) -> dict[str, Any]:
    """A request with the uids that its watches have here."""
    return {**request, "watches": _renamed(request, "watches", "uid", uids)}


def rename_in_report(report: Mapping[str, Any], uids: Mapping[str, str]) -> dict[str, Any]:
    """A report with the uids that its watches have here, where it has any."""
    renamed = dict(report)
    for part, key in (("watches", "uid"), ("series", "watch")):
        if part in renamed:
            renamed[part] = _renamed(renamed, part, key, uids)
    gate = renamed.get("gate")
    if isinstance(gate, Mapping) and "watches" in gate:
        renamed["gate"] = {**gate, "watches": _renamed(gate, "watches", "uid", uids)}
    return renamed


def _renamed(
    holder: Mapping[str, Any], part: str, key: str, uids: Mapping[str, str]
) -> list[dict[str, Any]]:
    return [{**one, key: uids.get(one.get(key), one.get(key))} for one in holder[part]]
