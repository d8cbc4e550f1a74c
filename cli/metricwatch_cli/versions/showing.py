"""`metricwatch versions show`."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Iterator, Sequence
from typing import Any

from metricwatch.store.catalogue import ChunkEntry, list_chunks
from metricwatch.store.rows import ModelOverview, Version
from metricwatch_cli.backtest.problems import WrongInput
from metricwatch_cli.terminal import as_json
from metricwatch_cli.versions.asking import find_model, full_version, opened
from metricwatch_cli.versions.describing import describe, gate_of
from metricwatch_cli.versions.gate_table import gate_rows
from metricwatch_cli.versions.tables import lined_up, size


async def run(options: argparse.Namespace) -> str:
    """One version as text or JSON, and as a picture where one is asked for."""
    async with opened(options) as database:
        overview = await find_model(database, options)
        version = await full_version(database, overview, options.version)
        async with database.acquire() as connection:
            chunks = await list_chunks(connection, version_id=version.id)
    if options.plot is not None:
        await asyncio.to_thread(_plot, options, overview, version)
    if options.output == "json":
        name = {"namespace": overview.namespace, "name": overview.name}
        return as_json({"model": name, **describe(version), "stored": _stored(chunks)})
    return "\n".join(show(overview, version, chunks))


def show(overview: ModelOverview, version: Version, chunks: Sequence[ChunkEntry]) -> Iterator[str]:
    """A version as lines of text."""
    known = describe(version)
    serving = version.version == overview.serving_version
    yield lined_up([*_facts(overview, version, known, chunks, serving=serving)])
    yield ""
    yield lined_up([("WATCH", "SERIES", "LEFT OUT", "FROM", "EVERY", "QUERIES"), *_watches(known)])
    yield ""
    yield lined_up([("PARAMETER", "VALUE"), *_parameters(known)])
    yield ""
    gate = gate_of(version)
    if gate is None:
        yield "the gate measured nothing"
        return
    if gate.error or gate.inconclusive:
        yield f"the gate could not measure: {gate.error or gate.inconclusive}"
    if gate.watches:
        yield lined_up(gate_rows(gate))
        yield from (f"{one.name}: {one.note}" for one in gate.watches if one.note)


def _facts(
    overview: ModelOverview,
    version: Version,
    known: dict[str, Any],
    chunks: Sequence[ChunkEntry],
    *,
    serving: bool,
) -> Iterator[tuple[str, str]]:
    yield "model", f"{overview.namespace}/{overview.name}"
    yield "version", f"{version.version}{' (serves)' if serving else ''}"
    why = ": ".join(part for part in (version.reason, version.message) if part)
    yield "state", f"{version.state}{f' ({why})' if why else ''}"
    for name, key in (
        ("created", "createdAt"),
        ("trained", "trainedAt"),
        ("ready", "readyAt"),
        ("served", "servedAt"),
        ("retired", "retiredAt"),
    ):
        if known[key]:
            yield name, known[key]
    if version.replaced is not None:
        yield "took over from", f"version {version.replaced}"
    data = known["data"]
    yield "learned from", f"{data['start']} to {data['end']}" if data["start"] else "-"
    yield "data hash", data["hash"] or "-"
    yield "code version", version.code_version or "-"
    yield "seed", "-" if version.seed is None else str(version.seed)
    families = ", ".join(f"{name} {count}" for name, count in known["families"].items())
    yield "families", families or "-"
    stored = f"{size(sum(one.bytes for one in chunks))} in {len(chunks)} chunks"
    yield "stored", stored if chunks else "no parameters"


def _watches(known: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for one in known["metrics"]:
        yield (
            one["watch"],
            "-" if one["trained"] is None else str(one["trained"]),
            "-" if one["leftOut"] is None else str(one["leftOut"]),
            "-" if one["learnedBy"] is None else f"version {one['learnedBy']}",
            f"{one['intervalSeconds']} s",
            "; ".join(str(query) for query in one["queries"]),
        )


def _parameters(known: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Those that were set, and those that the search found."""
    for name, value in known["parameters"].items():
        if not isinstance(value, dict):
            yield name, str(value)
            continue
        for key, one in value.items():
            if one not in (None, [], {}):
                yield f"{name}.{key}", one if isinstance(one, str) else json.dumps(one)
    for watch, one in known["tuned"].items():
        yield f"tuned for {watch}", json.dumps(one.get("parameters", one), ensure_ascii=False)


def _stored(chunks: Sequence[ChunkEntry]) -> dict[str, int]:
    return {"chunks": len(chunks), "bytes": sum(one.bytes for one in chunks)}


def _plot(options: argparse.Namespace, overview: ModelOverview, version: Version) -> None:
    from metricwatch_cli.versions.gate_plot import write_gate_plot

    gate = gate_of(version)
    if gate is None or not gate.watches:
        raise WrongInput(
            f"the gate measured nothing of version {version.version}: there is nothing to draw"
        )
    title = f"{overview.namespace}/{overview.name} version {version.version}: {version.state}"
    why = ": ".join(part for part in (version.reason, version.message) if part)
    write_gate_plot(options.plot, gate, title=title, why=why)
