"""The database of a command, and the model and versions that its options name."""

from __future__ import annotations

import argparse
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from metricwatch.store.catalogue import ModelEntry, list_models
from metricwatch.store.errors import RowMissing
from metricwatch.store.location import DatabaseLocation
from metricwatch.store.models import read_version
from metricwatch.store.overview import read_model_overview
from metricwatch.store.pool import Database
from metricwatch.store.rows import ModelOverview, Version
from metricwatch_cli.backtest.problems import WrongInput

_MOST_NAMED = 20


@asynccontextmanager
async def opened(options: argparse.Namespace) -> AsyncIterator[Database]:
    """The database that the options or the environment name.

    Raises:
        WrongInput: the option holds no URL of PostgreSQL.
        StoreError: none is named, or it does not answer, or is of another release.
    """
    url = options.database_url
    if url is not None and not url.startswith(("postgresql://", "postgres://")):
        raise WrongInput(
            "--database-url: write it like postgresql://user:password@host:5432/database"
        )
    location = DatabaseLocation(url=url) if url else DatabaseLocation.from_environment(os.environ)
    async with Database(location, application_name="metricwatch versions") as database:
        yield database


async def all_models(database: Database, *, namespace: str | None) -> tuple[ModelEntry, ...]:
    """All models, or those of a namespace."""
    async with database.acquire() as connection:
        found = await list_models(connection)
    return tuple(one for one in found if namespace in (None, one.namespace))


async def find_model(database: Database, options: argparse.Namespace) -> ModelOverview:
    """The model that the options name.

    Raises:
        WrongInput: there is none of that name, or there are several.
    """
    models = await all_models(database, namespace=options.namespace)
    entry = choose_model(models, name=options.model, namespace=options.namespace)
    overview = await read_model_overview(database, entry.uid)
    if overview is None:
        raise WrongInput(f"model {options.model} was deleted just now")
    return overview


def choose_model(models: Sequence[ModelEntry], *, name: str, namespace: str | None) -> ModelEntry:
    """The model of this name; of one that was made anew, the one that was made last.

    Raises:
        WrongInput: there is none, or there are several in different namespaces.
    """
    named = [one for one in models if one.name == name]
    spaces = sorted({one.namespace for one in named})
    if len(spaces) == 1:
        return max(named, key=lambda one: one.id)
    where = "" if namespace is None else f" in namespace {namespace}"
    if spaces:
        raise WrongInput(
            f"several namespaces have a model {name} ({', '.join(spaces)}): add --namespace"
        )
    known = [f"{one.namespace}/{one.name}" for one in models]
    raise WrongInput(f"there is no model {name}{where}; {_there(known, 'models')}")


def choose_number(overview: ModelOverview, number: int | None) -> int:
    """The version of this number, or the one that serves.

    Raises:
        WrongInput: there is none.
    """
    name = f"{overview.namespace}/{overview.name}"
    numbers = [one.version for one in overview.versions]
    if number is None and overview.serving_version is None:
        there = _there([str(one) for one in numbers], "versions")
        raise WrongInput(f"no version of model {name} serves, so name one; {there}")
    chosen = overview.serving_version if number is None else number
    if chosen is None or chosen not in numbers:
        there = _there([str(one) for one in numbers], "versions")
        raise WrongInput(f"model {name} has no version {chosen}; {there}")
    return chosen


async def full_version(database: Database, overview: ModelOverview, number: int | None) -> Version:
    """One version with its whole report.

    Raises:
        WrongInput: there is none.
    """
    chosen = choose_number(overview, number)
    try:
        async with database.acquire() as connection:
            return await read_version(connection, model_uid=overview.uid, version=chosen)
    except RowMissing as error:
        raise WrongInput(f"version {chosen} was removed just now") from error


def _there(names: Sequence[str], what: str) -> str:
    if not names:
        return f"there are no {what}"
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"there are: {', '.join(names[:_MOST_NAMED])}{more}"
