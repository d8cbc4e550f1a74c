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
from tests.integration.postgres_fixture import Postgres, run_apart

from metricwatch.store.errors import StoreUnavailable
from metricwatch.store.location import DatabaseLocation
from metricwatch.store.pool import Database


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


@pytest.fixture
def authority(postgres: Postgres, tmp_path: Path) -> Iterator[Path]:
    """The server's certificate, while the server speaks TLS."""
    served = [postgres.folder / name for name in ("tls.crt", "tls.key")]
    for source, target in zip(
        make_certificate(tmp_path, address="127.0.0.1"), served, strict=True
    ):
        target.write_bytes(source.read_bytes())
        target.chmod(0o600)
        if postgres.account:
            os.chown(target, postgres.account["user"], postgres.account["group"])

    def switch(*statements: str) -> None:
        for statement in statements:
            run_apart(postgres.execute(statement))
        postgres.restart()

    switch(
        f"ALTER SYSTEM SET ssl_cert_file = '{served[0]}'",
        f"ALTER SYSTEM SET ssl_key_file = '{served[1]}'",
        "ALTER SYSTEM SET ssl = on",
    )
    yield tmp_path / "tls.crt"
    switch("ALTER SYSTEM RESET ALL")


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
    with pytest.raises(StoreUnavailable, match="no TLS connection to PostgreSQL: self-signed"):
        await is_encrypted(f"{verified}{stranger}")
    elsewhere = f"{verified}{authority}".replace("127.0.0.1", "localhost")
    with pytest.raises(StoreUnavailable, match=r"Hostname mismatch.* not valid for 'localhost'"):
        await is_encrypted(elsewhere)
    with pytest.raises(StoreUnavailable, match="no TLS connection"):
        await is_encrypted(database_url + "?sslmode=verify-full&sslrootcert=" + str(stranger))
