"""`metricwatch anomalies dismiss`, `confirm` and `reopen`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from metricwatch.store.errors import RowMissing
from metricwatch.store.feedback import judge_anomalies, reopen_anomalies
from metricwatch.store.rows import Feedback
from metricwatch_cli.backtest.problems import WrongInput
from metricwatch_cli.versions.asking import find_model, opened


async def judge(options: argparse.Namespace, feedback: Feedback, *, by: str) -> str:
    """Records what somebody says of anomalies.

    Raises:
        WrongInput: there is no such anomaly, or no reason.
    """
    reason = options.reason.strip()
    if not reason:
        raise WrongInput("--reason: say why in a few words")
    async with opened(options) as database:
        overview = await find_model(database, options)
        try:
            async with database.acquire() as connection:
                await judge_anomalies(
                    connection,
                    model_id=overview.id,
                    ids=options.ids,
                    feedback=feedback,
                    reason=reason,
                    by=by,
                )
        except RowMissing as error:
            raise WrongInput(f"{error}; nothing was recorded") from error
    return f"{_anomalies(options.ids)} {feedback} by {by}"


async def reopen(options: argparse.Namespace) -> str:
    """Takes back what was said of anomalies.

    Raises:
        WrongInput: there is no such anomaly.
    """
    async with opened(options) as database:
        overview = await find_model(database, options)
        try:
            async with database.acquire() as connection:
                await reopen_anomalies(connection, model_id=overview.id, ids=options.ids)
        except RowMissing as error:
            raise WrongInput(f"{error}; nothing was taken back") from error
    return f"{_anomalies(options.ids)}: nothing is said of it any more"


def _anomalies(ids: Sequence[int]) -> str:
    listed = ", ".join(map(str, sorted(set(ids))))
    return f"anomaly {listed}"
