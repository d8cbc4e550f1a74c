import ssl

import asyncpg
import pytest

from metricwatch.store.errors import (
    SchemaMismatch,
    StoreError,
    StoreMisconfigured,
    StoreUnauthorized,
    StoreUnavailable,
    mapped_errors,
)


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (asyncpg.AdminShutdownError("terminating connection"), StoreUnavailable),
        (asyncpg.CannotConnectNowError("starting up"), StoreUnavailable),
        (asyncpg.TooManyConnectionsError("too many"), StoreUnavailable),
        (asyncpg.DiskFullError("no space left"), StoreUnavailable),
        (asyncpg.DeadlockDetectedError("deadlock"), StoreUnavailable),
        (asyncpg.QueryCanceledError("statement timeout"), StoreUnavailable),
        (asyncpg.ReadOnlySQLTransactionError("standby"), StoreUnavailable),
        (asyncpg.InvalidCatalogNameError("no such database"), StoreUnavailable),
        (asyncpg.InvalidPasswordError("no"), StoreUnauthorized),
        (asyncpg.InvalidAuthorizationSpecificationError("pg_hba"), StoreUnauthorized),
        (asyncpg.UndefinedTableError("no watches"), SchemaMismatch),
        (asyncpg.UndefinedColumnError("no column"), SchemaMismatch),
        (asyncpg.UniqueViolationError("twice"), StoreError),
        (asyncpg.InsufficientPrivilegeError("denied"), StoreError),
        (asyncpg.ClientConfigurationError("bad sslmode"), StoreMisconfigured),
        (asyncpg.InterfaceError("connection is closed"), StoreUnavailable),
        (asyncpg.InternalClientError("protocol"), StoreUnavailable),
        (ConnectionRefusedError(111, "Connection refused"), StoreUnavailable),
        (ConnectionResetError(), StoreUnavailable),
        (TimeoutError(), StoreUnavailable),
        (ssl.SSLCertVerificationError("self-signed"), StoreUnavailable),
    ],
)
def test_each_error_says_whether_to_try_again(
    raised: Exception, expected: type[StoreError]
) -> None:
    with pytest.raises(StoreError) as caught, mapped_errors():
        raise raised
    assert type(caught.value) is expected
    assert caught.value.retryable is (expected is not StoreError)
    assert caught.value.__cause__ is raised


def test_the_server_detail_with_values_of_a_row_is_not_repeated() -> None:
    error = asyncpg.UniqueViolationError("duplicate key\nDETAIL: Key (url)=(secret) exists")
    with pytest.raises(StoreError) as caught, mapped_errors():
        raise error
    assert "secret" not in str(caught.value)


def test_what_is_not_about_the_database_passes() -> None:
    with pytest.raises(KeyError), mapped_errors():
        raise KeyError
    with pytest.raises(SchemaMismatch, match="mine"), mapped_errors():
        raise SchemaMismatch("mine")
