"""What can go wrong between us and PostgreSQL, in words a condition or a log can show.

Callers distinguish three cases only: try again later (`StoreUnavailable`), the schema belongs to
another release (`SchemaMismatch`), and a mistake of ours (any other `StoreError`). No message
holds a password or the detail line of the server, which quotes values of rows.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import asyncpg

from metricwatch.trust import advice_about


class StoreError(Exception):
    """PostgreSQL refused what we asked for: a bug, or a row that should not be.

    Attributes:
        reason: one CamelCase word for a condition.
        retryable: the same call may succeed later although nobody changed the request.
    """

    reason: ClassVar[str] = "StoreError"
    retryable: ClassVar[bool] = False


class StoreUnavailable(StoreError):
    """No answer, or none in time: refused, lost, overloaded, restarting, read-only, deadlocked."""

    reason = "StoreUnavailable"
    retryable = True


class StoreUnauthorized(StoreUnavailable):
    """The credentials are refused. Putting the Secret right mends it without a restart."""


class StoreMisconfigured(StoreUnavailable):
    """The URL is missing or cannot be used. It is read again at the next attempt."""


class SchemaMismatch(StoreError):
    """The tables are older or newer than this release. Retrying helps once somebody migrated."""

    reason = "StoreSchemaMismatch"
    retryable = True


class TransitionRefused(StoreError):
    """A version is not in a state from which the wanted one may follow."""

    reason = "TransitionRefused"


class VersionConflict(StoreError):
    """A version of this number exists already and was asked for with another request."""

    reason = "VersionConflict"


class RowMissing(StoreError):
    """The model, watch or version is not in the database (any more)."""

    reason = "RowMissing"


# SQLSTATE classes after which the same statement may succeed: connection lost (08), transaction
# rolled back for another's sake (40), resources short (53), operator intervention (57), system
# (58).
_TRANSIENT_CLASSES = frozenset({"08", "40", "53", "57", "58"})
_TRANSIENT_CODES = frozenset(
    {
        "25006",  # read-only: we reached a standby during a failover
        "25P03",  # idle in transaction for too long: the server ended it
        "55P03",  # lock not available in time
        "3D000",  # the database does not exist (yet)
    }
)
_SCHEMA_CODES = frozenset({"42P01", "42703", "3F000"})


@contextmanager
def mapped_errors() -> Iterator[None]:
    """Turn what asyncpg, sockets and TLS raise into the errors of this module."""
    try:
        yield
    except StoreError:
        raise
    except asyncpg.PostgresError as error:
        raise _from_server(error) from error
    except (asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise _from_client(error) from error
    except TimeoutError as error:
        raise StoreUnavailable("PostgreSQL did not answer in time") from error
    except ssl.SSLError as error:
        # Before OSError, which it is a kind of: this one is about trust, and says so.
        raise StoreUnavailable(f"no TLS connection to PostgreSQL: {_distrust(error)}") from error
    except OSError as error:
        if "rejected SSL" in str(error):
            raise StoreUnavailable(_NO_TLS) from error
        raise StoreUnavailable(
            f"cannot reach PostgreSQL: {error.strerror or type(error).__name__}"
        ) from error


_NO_TLS = (
    "PostgreSQL speaks no TLS, which the database URL asks for: turn it on there (ssl = on), or "
    "write sslmode=disable into the URL where nobody else listens"
)


def _distrust(error: ssl.SSLError) -> str:
    """Why TLS failed, and what to do about it."""
    why = getattr(error, "verify_message", "") or error.strerror or str(error)
    if not isinstance(error, ssl.SSLCertVerificationError):
        return why
    advice = advice_about(error) or (
        "The authority of the server's certificate belongs beside the URL, as ca.crt"
    )
    return f"{why}. {advice}"


def _from_server(error: asyncpg.PostgresError) -> StoreError:
    code = error.sqlstate or ""
    said = str(error).split("\n", 1)[0]
    if code.startswith("28"):
        return StoreUnauthorized(f"PostgreSQL refuses the credentials: {said}")
    if code[:2] in _TRANSIENT_CLASSES or code in _TRANSIENT_CODES:
        return StoreUnavailable(f"PostgreSQL cannot do this now: {said}")
    if code in _SCHEMA_CODES:
        return SchemaMismatch(
            f"the database lacks a part of the schema ({said}): run `metricwatch migrate`"
        )
    return StoreError(f"PostgreSQL refused a statement ({code}): {said}")


def _from_client(error: Exception) -> StoreError:
    if isinstance(error, asyncpg.ClientConfigurationError):
        if "root certificate file" in str(error):
            return StoreMisconfigured(
                "the database URL asks for a verified certificate, and the authority to verify it "
                "by is missing: put it as ca.crt beside the URL, or write sslmode=disable into it "
                "where nobody else listens"
            )
        return StoreMisconfigured(f"the database URL cannot be used: {error}")
    # Everything else asyncpg raises by itself is about a connection that ended under our feet.
    return StoreUnavailable(f"the connection to PostgreSQL was lost: {error}")
