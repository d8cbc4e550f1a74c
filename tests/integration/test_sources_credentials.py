"""TLS, users, tokens and their rotation, with servers that insist on them."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.certificates import Authority
from tests.integration.mounted_secret import MountedSecret
from tests.integration.scripted_server import EMPTY, Answer, scripted
from tests.integration.secure_prometheus import (
    AUTHORITY,
    FIRST,
    SECOND,
    TLS,
    SecurePrometheus,
)

from metricwatch.sources import (
    SecretMissing,
    Source,
    SourceConfig,
    SourceError,
    SourceMalformed,
    SourceTooLarge,
    SourceUnauthorized,
    SourceUnavailable,
    open_source,
)

# 64 MiB as 64 KiB, and that again as a few hundred bytes.
ZIPPED = gzip.compress(bytes(64 * 2**20), 9)
ZIPPED_TWICE = gzip.compress(ZIPPED, 9)

CLIENTS = """  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: clients.crt
"""


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[SecurePrometheus]:
    server = SecurePrometheus(tmp_path / "server", f"{TLS}basic_auth_users: {{anna: {FIRST}}}\n")
    server.start()
    yield server
    server.stop()


def secret(path: Path, **files: bytes | str) -> MountedSecret:
    """A mounted Secret; `ca_crt` is the key ca.crt."""
    return MountedSecret(path / "secret", contents(**files))


def contents(**files: bytes | str) -> dict[str, bytes]:
    return {
        name.replace("_", "."): text.encode() if isinstance(text, str) else text
        for name, text in files.items()
    }


async def ask(url: str, mounted: MountedSecret | None) -> Source:
    """Reads one number and returns the source it was read from."""
    directory = str(mounted.directory) if mounted else None
    source = open_source(
        SourceConfig(url=url, auth_directory=directory, auth_secret="vm-credentials"),
        retry_seconds=0,
    )
    try:
        assert (await source.query("3", at=600, step=60)).values.tolist() == [3.0]
    except BaseException:
        await source.close()
        raise
    return source


async def test_a_server_of_a_private_authority_is_read_with_user_and_password(
    secure: SecurePrometheus, tmp_path: Path
) -> None:
    mounted = secret(
        tmp_path, username="anna\n", password="first password\n", ca_crt=AUTHORITY.certificate
    )
    await (await ask(secure.url, mounted)).close()


@pytest.mark.parametrize(
    "authority", [Authority("another").certificate, Authority().certificate, None]
)
async def test_a_certificate_of_an_unknown_authority_is_never_accepted(
    secure: SecurePrometheus, tmp_path: Path, authority: bytes | None
) -> None:
    files = {"username": "anna", "password": "first password"}
    more = {"ca_crt": authority} if authority else {}
    with pytest.raises(SourceUnauthorized, match=r"CERTIFICATE_VERIFY_FAILED.*ca\.crt"):
        await ask(secure.url, secret(tmp_path, **files, **more))


async def test_a_certificate_for_another_address_is_never_accepted(
    secure: SecurePrometheus, tmp_path: Path
) -> None:
    mounted = secret(
        tmp_path, username="anna", password="first password", ca_crt=AUTHORITY.certificate
    )
    with pytest.raises(SourceUnauthorized, match=r"localhost.* Connect by a name or address"):
        await ask(secure.url.replace("127.0.0.1", "localhost"), mounted)


async def test_a_certificate_that_expired_is_never_accepted(
    secure: SecurePrometheus, tmp_path: Path
) -> None:
    AUTHORITY.issue("server", days=-0.5).write(secure.directory, "server")
    mounted = secret(tmp_path, ca_crt=AUTHORITY.certificate)
    with pytest.raises(SourceUnauthorized, match=r"expired.* Renew the server's certificate"):
        await ask(secure.url, mounted)


async def test_a_wrong_password_is_told_with_the_name_of_the_secret_and_not_shown(
    secure: SecurePrometheus, tmp_path: Path
) -> None:
    mounted = secret(
        tmp_path, username="anna", password="guessed password", ca_crt=AUTHORITY.certificate
    )
    with pytest.raises(SourceUnauthorized, match="Secret vm-credentials") as caught:
        await ask(secure.url, mounted)
    assert "guessed" not in str(caught.value)


async def test_a_rotated_password_is_used_without_a_restart(
    secure: SecurePrometheus, tmp_path: Path
) -> None:
    files = contents(username="anna", ca_crt=AUTHORITY.certificate)
    mounted = MountedSecret(tmp_path / "secret", {**files, "password": b"first password"})
    source = await ask(secure.url, mounted)
    secure.secure(f"{TLS}basic_auth_users: {{anna: {SECOND}}}\n")
    with pytest.raises(SourceUnauthorized):
        await source.query("3", at=600, step=60)
    mounted.exchange({**files, "password": b"second password"})
    assert (await source.query("3", at=600, step=60)).values.tolist() == [3.0]
    await source.close()


async def test_a_secret_that_goes_and_comes_back_is_missing_in_between(
    secure: SecurePrometheus, tmp_path: Path
) -> None:
    files = contents(username="anna", password="first password", ca_crt=AUTHORITY.certificate)
    mounted = MountedSecret(tmp_path / "secret", files)
    source = await ask(secure.url, mounted)
    mounted.exchange({})
    with pytest.raises(SecretMissing, match="Secret vm-credentials is missing"):
        await source.query("3", at=600, step=60)
    mounted.exchange(files)
    assert (await source.query("3", at=600, step=60)).values.tolist() == [3.0]
    await source.close()


async def test_a_server_that_wants_our_certificate_gets_it(
    secure: SecurePrometheus, tmp_path: Path
) -> None:
    secure.secure(TLS + CLIENTS)
    ours, strangers = AUTHORITY.issue("detector"), Authority("another").issue("detector")
    files = {"ca.crt": AUTHORITY.certificate}
    mounted = MountedSecret(
        tmp_path / "secret", {**files, "tls.crt": ours.certificate, "tls.key": ours.key}
    )
    source = await ask(secure.url, mounted)
    mounted.exchange({**files, "tls.crt": strangers.certificate, "tls.key": strangers.key})
    with pytest.raises(SourceError, match=r"certificate.* tls\.crt and tls\.key"):
        await source.query("3", at=600, step=60)
    mounted.exchange(files)
    with pytest.raises(SourceError, match=r"certificate.* tls\.crt and tls\.key"):
        await source.query("3", at=600, step=60)
    await source.close()


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "is missing or has none of the keys"),
        ({"username": b"anna"}, "both username and password"),
        ({"tls.key": b"x"}, r"both tls\.crt and tls\.key"),
        ({"token": b"t", "username": b"a", "password": b"b"}, "both token and username"),
        ({"token": b"se\ncret"}, "no HTTP header"),
        ({"username": b"\xff", "password": b"b"}, "UTF-8"),
        ({"ca.crt": b"no certificate"}, "PEM"),
        (
            {
                "tls.crt": AUTHORITY.issue("one").certificate,
                "tls.key": AUTHORITY.issue("other").key,
            },
            "must belong to",
        ),
    ],
)
async def test_a_secret_that_cannot_be_used_says_what_it_lacks(
    tmp_path: Path, files: dict[str, bytes], words: str
) -> None:
    with pytest.raises(SecretMissing, match=words) as caught:
        await ask("http://127.0.0.1:1", MountedSecret(tmp_path / "secret", files))
    assert caught.value.retryable
    assert "se\ncret" not in str(caught.value)


async def test_a_token_goes_with_each_request_and_a_new_one_with_the_next(tmp_path: Path) -> None:
    mounted = secret(tmp_path, token="first\n")
    with scripted(Answer()) as server:
        config = SourceConfig(
            url=server.url, auth_directory=str(mounted.directory), headers={"X-Scope": "grün"}
        )
        source = open_source(config)
        await source.query("up", at=600, step=60)
        mounted.exchange({"token": b"second"})
        await source.query("up", at=600, step=60)
        await source.close()
    sent = [request.headers["authorization"] for request in server.requests]
    assert sent == ["Bearer first", "Bearer second"]
    assert server.requests[0].headers["x-scope"].encode("latin-1").decode() == "grün"


async def test_a_tenant_is_the_path_of_a_victoriametrics_cluster() -> None:
    with scripted(Answer()) as server:
        source = open_source(
            SourceConfig.model_validate(
                {"type": "victoriametrics", "url": f"{server.url}/vm/", "tenant": "7:2"}
            )
        )
        await source.query("up", at=600, step=15)
        await source.close()
    (request,) = server.requests
    assert request.path == "/vm/select/7:2/prometheus/api/v1/query"
    expected = {"query": "up", "time": "600", "step": "15s", "nocache": "1"}
    assert expected.items() <= request.form.items()
    assert request.form["deny_partial_response"] == "1"


async def test_a_server_that_is_busy_is_asked_again_and_one_that_refuses_is_not() -> None:
    busy = Answer(status=503, body=b"starting")
    with scripted(busy, busy, Answer()) as server:
        source = open_source(SourceConfig(url=server.url))
        assert (await source.query("up", at=600, step=60)).labels == ()
        await source.close()
    assert len(server.requests) == 3
    with scripted(Answer(status=400, body=b'{"error":"no"}')) as server:
        source = open_source(SourceConfig(url=server.url))
        with pytest.raises(SourceError, match="no"):
            await source.query("up", at=600, step=60)
        await source.close()
    assert len(server.requests) == 1


async def test_a_wait_longer_than_our_patience_is_handed_to_the_caller() -> None:
    later = Answer(status=429, body=b"", headers={"Retry-After": "3600"})
    with scripted(later) as server:
        source = open_source(SourceConfig(url=server.url), retry_seconds=5)
        with pytest.raises(SourceUnavailable) as caught:
            await source.query("up", at=600, step=60)
        await source.close()
    assert caught.value.retry_after == 3600
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(body=EMPTY[:20], announced=len(EMPTY)), SourceUnavailable),
        (Answer(body=b"\x00" * 50, headers={"Content-Encoding": "gzip"}), SourceUnavailable),
        (Answer(body=b"<html>sign in</html>"), SourceMalformed),
        (Answer(body=ZIPPED_TWICE, headers={"Content-Encoding": "gzip, gzip"}), SourceUnavailable),
        (Answer(body=ZIPPED, headers={"Content-Encoding": "gzip"}), SourceTooLarge),
        (Answer(status=500, body=ZIPPED, headers={"Content-Encoding": "gzip"}), SourceUnavailable),
        (Answer(body=EMPTY, headers={"Content-Encoding": "br"}), SourceUnavailable),
        (Answer(body=b"[" * 4000), SourceMalformed),
        (Answer(body=b'{"status":"error","error":"\x1b[2J"}'), SourceMalformed),
        (Answer(status=302, headers={"Location": "http://127.0.0.1:1/"}), SourceMalformed),
        (Answer(body=b" " * 5000), SourceTooLarge),
        (Answer(status=500, body=b"x" * 500_000), SourceUnavailable),
    ],
)
async def test_an_answer_that_is_cut_or_is_none_or_is_endless_is_an_error(
    answer: Answer, kind: type[SourceError]
) -> None:
    with scripted(answer) as server:
        source = open_source(
            SourceConfig(url=server.url, max_response_bytes=4096), retry_seconds=0
        )
        with pytest.raises(kind) as caught:
            await source.query("up", at=600, step=60)
        await source.close()
    assert len(str(caught.value)) < 500
