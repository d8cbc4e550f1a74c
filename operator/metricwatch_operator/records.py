"""The database as the reconciler sees it: one look at a model, and the writes of a plan.

Each write is one transaction that bears being done again: a plan that was interrupted is simply
made once more from what is observed next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from metricwatch.resources import Reason
from metricwatch.store.clock import read_time
from metricwatch.store.comparison import read_comparison
from metricwatch.store.connection import Connection
from metricwatch.store.errors import SchemaMismatch, StoreError
from metricwatch.store.listen import listen
from metricwatch.store.models import (
    create_version,
    model_id_of,
    set_state,
    upsert_model,
)
from metricwatch.store.orphans import forget_orphans
from metricwatch.store.overview import read_model_overview
from metricwatch.store.pool import Database
from metricwatch.store.pruning import prune_versions
from metricwatch.store.retention import delete_model
from metricwatch.store.rows import Comparison, ModelOverview
from metricwatch.store.serving import mark_ready, set_serving
from metricwatch.store.stamps import read_stamps
from metricwatch.store.watches import remove_watches, upsert_watch
from metricwatch_operator.observed import Problem
from metricwatch_operator.planning.actions import (
    Assign,
    CreateVersion,
    Forget,
    MarkReady,
    Prune,
    Serve,
    SetState,
    StoreWrite,
)


class Records:
    """PostgreSQL, for the reconciler; every method raises `StoreError`.

    Args:
        database: Where it is.
        fence: Called before each write, and before it is committed; raises to prevent it.
    """

    def __init__(self, database: Database, *, fence: Callable[[], None] = lambda: None) -> None:
        self._database = database
        self._fence = fence

    async def read(self, uid: str) -> ModelOverview | None:
        """The model with this Kubernetes uid; None when it has no row."""
        return await read_model_overview(self._database, uid)

    async def time(self) -> int:
        """The database's clock, in unix seconds."""
        async with self._database.acquire() as connection:
            return await read_time(connection)

    async def stamps(self) -> Mapping[str, str]:
        """A stamp for each model, by uid: another one when there is something else to tell."""
        return await read_stamps(self._database)

    async def compare(
        self, model_id: int, *, version: int, against: int, since: int
    ) -> Comparison:
        """What two versions of a model scored from `since` on, side by side."""
        async with self._database.acquire() as connection:
            return await read_comparison(
                connection, model_id=model_id, version=version, against=against, since=since
            )

    async def write(self, step: StoreWrite) -> None:
        """Does one step of a plan."""
        self._fence()
        if isinstance(step, Forget):
            # In batches of its own: a model may have more scores than one transaction should
            # delete.
            await delete_model(self._database, uid=step.model_uid)
            # Its watches may have gone before it. The last model leaves no detector to look.
            await forget_orphans(self._database)
            return
        if isinstance(step, Prune):
            await prune_versions(
                self._database, model_uid=step.model_uid, keep=step.keep, protect=step.protect
            )
            return
        async with self._database.transaction() as connection:
            if isinstance(step, Assign):
                await _assign(connection, step)
            else:
                model_id = await model_id_of(connection, step.model_uid)
                await _move(connection, step, model_id=model_id)
            self._fence()

    async def listen(self, callback: Callable[[str | None], None]) -> None:
        """Calls back with the uid of a model that changed; None means that any may have."""
        await listen(self._database, callback)


def store_problem(error: StoreError) -> Problem:
    """A condition's words for what is wrong with the database."""
    if isinstance(error, SchemaMismatch):
        return Problem(Reason.STORE_SCHEMA_MISMATCH, str(error))
    return Problem(Reason.STORE_UNAVAILABLE, str(error))


async def _assign(connection: Connection, step: Assign) -> None:
    model_id = await upsert_model(
        connection,
        uid=step.uid,
        namespace=step.namespace,
        name=step.name,
        generation=step.generation,
        suspended=step.suspended,
    )
    for watch in step.watches:
        await upsert_watch(
            connection,
            model_id=model_id,
            uid=watch.uid,
            namespace=watch.namespace,
            name=watch.name,
            generation=watch.generation,
            settings=watch.settings,
        )
    await remove_watches(connection, model_id=model_id, keep=step.keep)


async def _move(
    connection: Connection, step: CreateVersion | SetState | MarkReady | Serve, *, model_id: int
) -> None:
    match step:
        case CreateVersion():
            await create_version(
                connection,
                model_id=model_id,
                version=step.version,
                request=step.request.to_row(),
                request_hash=step.request.fingerprint(),
                attempt=step.attempt,
                reason=step.reason,
                message=step.message,
            )
        case SetState():
            await set_state(
                connection,
                model_id=model_id,
                version=step.version,
                state=step.state,
                reason=step.reason,
                message=step.message,
            )
        case MarkReady():
            await mark_ready(connection, model_id=model_id, version=step.version)
        case Serve():
            await set_serving(
                connection,
                model_id=model_id,
                version=step.version,
                how=step.how,
                reason=step.reason,
                message=step.message,
            )
