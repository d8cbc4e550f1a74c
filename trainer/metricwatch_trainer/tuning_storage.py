"""Where the trials of a search are kept: Optuna's own tables, in a schema of their own.

A training run that was cut off leaves its trials there, and the next attempt at the same version
goes on with them. Once a version is stored, or a later one is trained, they are of no more use.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import structlog

from metricwatch.store.errors import StoreUnavailable
from metricwatch.store.location import without_password
from metricwatch_trainer.teamwork import HEARTBEAT_SECONDS, SILENCE_SECONDS, retry

if TYPE_CHECKING:
    from optuna.storages import BaseStorage, RDBStorage

SCHEMA = "metricwatch_optuna"
_CONNECT_SECONDS = "10"
_RESULT = "metricwatch.result"
_LOCK = 7_274_019_002
"""Two trainers that begin at once make the tables once."""


def open_storage(url: str) -> RDBStorage | None:
    """Returns the storage in a database; None when its user may not make one there.

    Without a storage a search works all the same, but cannot go on after it was cut off.

    Args:
        url: as in `DatabaseLocation`.

    Raises:
        StoreUnavailable: the database cannot be reached.
    """
    import sqlalchemy
    from optuna.exceptions import ExperimentalWarning
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import OperationalError, ProgrammingError

    address = sqlalchemy.engine.make_url(re.sub("^postgres(ql)?:", "postgresql+psycopg:", url))
    if "connect_timeout" not in address.query:
        address = address.update_query_dict({"connect_timeout": _CONNECT_SECONDS})
    own = address.update_query_dict({"options": f"-csearch_path={SCHEMA}"})
    engine = sqlalchemy.create_engine(address, poolclass=sqlalchemy.pool.NullPool)
    try:
        # The lock is held until the connection ends: Optuna makes its tables on another one.
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sqlalchemy.text(f"SELECT pg_advisory_lock({_LOCK})"))
            connection.execute(sqlalchemy.text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                return RDBStorage(
                    own.render_as_string(hide_password=False),
                    engine_kwargs={"pool_size": 1, "pool_pre_ping": True},
                    heartbeat_interval=HEARTBEAT_SECONDS,
                    grace_period=SILENCE_SECONDS,
                    heartbeat_stale_trial_callback=retry(),
                )
    except OperationalError as error:
        raise StoreUnavailable(
            f"the search cannot reach {without_password(url)}: {_first_line(error)}"
        ) from error
    except ProgrammingError as error:
        log: Any = structlog.get_logger("metricwatch_trainer")
        log.warning("trials are kept in memory only", why=_first_line(error))
        return None
    finally:
        engine.dispose()


def forget_studies(storage: BaseStorage, *, model_uid: str, but: int | None) -> None:
    """Deletes the studies of a model.

    Args:
        storage: where they are.
        model_uid: the model.
        but: a version whose studies stay.
    """
    from optuna import delete_study

    for study in storage.get_all_studies():
        name = study.study_name
        if name.startswith(f"{model_uid}/") and not name.startswith(f"{model_uid}/{but}/"):
            delete_study(study_name=name, storage=storage)


def close_storage(storage: RDBStorage) -> None:
    """Closes its connections."""
    storage.remove_session()
    storage.engine.dispose()


def study_name(*, model_uid: str, version: int, watch_uid: str) -> str:
    """Returns the name of the study of one watch in one training run."""
    return f"{model_uid}/{version}/{watch_uid}"


def keep_result(storage: BaseStorage, name: str, summary: Mapping[str, Any]) -> None:
    """Writes what a search brought beside its trials, for the pods that train."""
    from optuna import create_study

    study = create_study(
        study_name=name, storage=storage, direction="maximize", load_if_exists=True
    )
    study.set_user_attr(_RESULT, dict(summary))


def kept_result(storage: BaseStorage, name: str) -> Mapping[str, Any] | None:
    """Returns what a search brought; None when it is not there."""
    from optuna import load_study

    try:
        found: Mapping[str, Any] | None = load_study(
            study_name=name, storage=storage
        ).user_attrs.get(_RESULT)
    except KeyError:
        return None
    return found


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
