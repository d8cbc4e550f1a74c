import asyncio
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.integration.certificates import Authority
from tests.integration.mounted_secret import MountedSecret
from tests.integration.postgres_fixture import Postgres, run_apart

from metricwatch.store.errors import StoreMisconfigured, StoreUnauthorized, StoreUnavailable
from metricwatch.store.location import DatabaseLocation
from metricwatch.store.pool import Database
from metricwatch_trainer.tuning_storage import close_storage, open_storage


def make_certificate(folder: Path, *, address: str) -> tuple[Path, Path]:
    """A certificate that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "tls.crt", folder / "tls.key"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate_file, key_file


def serve_tls(postgres: Postgres, **files: bytes) -> None:
    """Restart the server with these files for its settings `ssl_…_file`."""
    for setting, content in files.items():
        path = postgres.folder / setting
        path.write_bytes(content)
        path.chmod(0o600)
        if postgres.account:
            os.chown(path, postgres.account["user"], postgres.account["group"])
        run_apart(postgres.execute(f"ALTER SYSTEM SET {setting} = '{path}'"))
    run_apart(postgres.execute("ALTER SYSTEM SET ssl = on"))
    postgres.restart()


def serve_plainly(postgres: Postgres) -> None:
    """Restart the server as it was."""
    run_apart(postgres.execute("ALTER SYSTEM RESET ALL"))
    postgres.restart()


@pytest.fixture
def authority(postgres: Postgres, tmp_path: Path) -> Iterator[Path]:
    """The server's certificate, while the server speaks TLS."""
    certificate, key = make_certificate(tmp_path, address="127.0.0.1")
    serve_tls(postgres, ssl_cert_file=certificate.read_bytes(), ssl_key_file=key.read_bytes())
    yield certificate
    serve_plainly(postgres)


@pytest.fixture
def strict(postgres: Postgres) -> Iterator[Authority]:
    """The authority of a server that, by TLS, lets in only those who show a certificate."""
    authority = Authority()
    server = authority.issue("server")
    rules = postgres.folder / "data" / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"hostssl all all 127.0.0.1/32 cert\n{before}")
    serve_tls(
        postgres,
        ssl_cert_file=server.certificate,
        ssl_key_file=server.key,
        ssl_ca_file=authority.certificate,
    )
    yield authority
    rules.write_text(before)
    serve_plainly(postgres)


async def is_encrypted(url: str) -> bool:
    location = DatabaseLocation(url=url)
    statement = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    async with (
        Database(location, application_name="tests") as database,
        database.acquire() as connection,
    ):
        encrypted: bool = await connection.fetchval(statement)
        return encrypted


async def test_a_verified_connection_is_made_and_an_unverified_one_refused(
    authority: Path, database_url: str, tmp_path: Path
) -> None:
    verified = f"{database_url}?sslmode=verify-full&sslrootcert="
    assert await is_encrypted(f"{verified}{authority}")
    (tmp_path / "other").mkdir()
    stranger, _ = make_certificate(tmp_path / "other", address="127.0.0.1")
    with pytest.raises(StoreUnavailable, match=r"self-signed.*The authority .* as ca\.crt"):
        await is_encrypted(f"{verified}{stranger}")
    elsewhere = f"{verified}{authority}".replace("127.0.0.1", "localhost")
    with pytest.raises(StoreUnavailable, match=r"'localhost'.*Connect by a name or address"):
        await is_encrypted(elsewhere)
    with pytest.raises(StoreUnavailable, match="no TLS connection"):
        await is_encrypted(database_url + "?sslmode=verify-full&sslrootcert=" + str(stranger))


def mounted(folder: Path, url: str, authority: Authority) -> MountedSecret:
    """What a pod sees: a URL without password or options, and certificates beside it."""
    ours = authority.issue("tester")
    files = {
        "url": url.replace(":secret", "").encode(),
        "ca.crt": authority.certificate,
        "tls.crt": ours.certificate,
        "tls.key": ours.key,
    }
    return MountedSecret(folder, files)


async def whoami(location: DatabaseLocation) -> str | None:
    async with (
        Database(location, application_name="tests") as database,
        database.acquire() as connection,
    ):
        dn: str | None = await connection.fetchval(
            "SELECT client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        )
        return dn


async def test_certificates_beside_the_url_are_shown_and_verified_without_being_named(
    strict: Authority, database_url: str, tmp_path: Path
) -> None:
    secret = mounted(tmp_path / "secret", database_url, strict)
    location = DatabaseLocation(file=secret.directory / "url")
    assert await whoami(location) == "/CN=tester"
    # Another pod, that was given a copy.
    copy = MountedSecret(tmp_path / "copy", location.content())
    assert await whoami(DatabaseLocation(file=copy.directory / "url")) == "/CN=tester"


async def test_a_certificate_that_was_renewed_is_used_for_the_next_connection(
    strict: Authority, database_url: str, tmp_path: Path
) -> None:
    secret = mounted(tmp_path / "secret", database_url, strict)
    location = DatabaseLocation(file=secret.directory / "url")
    good = location.content()
    secret.exchange(good | {"ca.crt": Authority("stranger").certificate})
    with pytest.raises(StoreUnavailable, match="no TLS connection to PostgreSQL"):
        await whoami(location)
    stranger = Authority("stranger").issue("tester")
    secret.exchange(good | {"tls.crt": stranger.certificate, "tls.key": stranger.key})
    with pytest.raises((StoreUnauthorized, StoreUnavailable)):
        await whoami(location)
    secret.exchange({name: good[name] for name in ("url", "ca.crt")})
    with pytest.raises(StoreUnauthorized, match="client certificate"):
        await whoami(location)
    secret.exchange(good)
    assert await whoami(location) == "/CN=tester"


async def test_a_verified_connection_without_an_authority_says_where_to_put_it(
    strict: Authority, database_url: str
) -> None:
    with pytest.raises(StoreMisconfigured, match=r"put it as ca\.crt beside the URL"):
        await is_encrypted(database_url + "?sslmode=verify-full")


def test_the_trainers_storage_of_trials_goes_the_same_way(
    strict: Authority, database_url: str, tmp_path: Path
) -> None:
    secret = mounted(tmp_path / "secret", database_url, strict)
    for file in secret.directory.glob("..data/*"):
        file.chmod(0o440)  # as in the pod: libpq accepts no key that everybody may read
    storage = open_storage(DatabaseLocation(file=secret.directory / "url").read())
    assert storage is not None
    close_storage(storage)


async def test_a_certificate_that_expired_is_refused_with_what_to_do(
    postgres: Postgres, database_url: str, tmp_path: Path
) -> None:
    authority = Authority()
    expired = authority.issue("server", days=-0.5)
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    files = {"ssl_cert_file": expired.certificate, "ssl_key_file": expired.key}
    await asyncio.to_thread(serve_tls, postgres, **files)
    try:
        verified = f"{database_url}?sslmode=verify-full&sslrootcert={tmp_path / 'ca.crt'}"
        with pytest.raises(StoreUnavailable, match=r"expired\. Renew the server's"):
            await is_encrypted(verified)
    finally:
        await asyncio.to_thread(serve_plainly, postgres)


async def test_a_server_without_tls_is_not_spoken_to_in_plain_text(
    authority: Path, postgres: Postgres, database_url: str
) -> None:
    await asyncio.to_thread(serve_plainly, postgres)
    verified = f"{database_url}?sslmode=verify-full&sslrootcert={authority}"
    for url in (verified, f"{database_url}?sslmode=require"):
        with pytest.raises(StoreUnavailable, match=r"speaks no TLS.*or write sslmode=disable"):
            await is_encrypted(url)
    assert not await is_encrypted(f"{database_url}?sslmode=disable")
