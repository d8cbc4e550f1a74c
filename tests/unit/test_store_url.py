"""A database URL never falls back to plain text in silence, and is never quoted."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metricwatch.store.connection import connect
from metricwatch.store.errors import StoreMisconfigured, StoreUnavailable, mapped_errors
from metricwatch.store.location import DatabaseLocation
from metricwatch.store.url import problem_of, with_tls


@pytest.mark.parametrize(
    ("url", "mode"),
    [
        ("postgresql://me@db.shop:5432/x", "verify-full"),
        ("postgresql://me:p@10.0.0.1/x?application_name=a", "verify-full"),
        ("postgresql://me@localhost.example/x", "verify-full"),
        ("postgresql://127.0.0.1,db.shop:5432/x", "verify-full"),
        ("postgresql:///x?host=db.shop", "verify-full"),
        ("postgresql://me@127.0.0.1:5432/x", "disable"),
        ("postgresql://me@[::1]:5432/x", "disable"),
        ("postgresql://localhost,127.0.0.2:5433/x", "disable"),
        ("postgresql:///x?host=/var/run/postgresql", "disable"),
        ("postgresql://%2Fvar%2Frun/x", "disable"),
        ("postgresql://me@db/x?sslmode=", "verify-full"),
    ],
)
def test_a_url_that_says_nothing_of_tls_wants_a_verified_certificate_of_another_machine(
    url: str, mode: str
) -> None:
    assert problem_of(url) == ""
    assert with_tls(url).endswith(f"sslmode={mode}")


@pytest.mark.parametrize("mode", ["disable", "require", "verify-ca", "verify-full"])
def test_what_a_url_says_of_tls_is_what_is_done(mode: str) -> None:
    url = f"postgresql://me@db/x?sslmode={mode}"
    assert DatabaseLocation(url=url).read() == url


@pytest.mark.parametrize("mode", ["allow", "prefer"])
def test_a_mode_that_falls_back_in_silence_is_refused(mode: str) -> None:
    with pytest.raises(StoreMisconfigured, match=f"sslmode={mode}.*write verify-full"):
        DatabaseLocation(url=f"postgresql://me@db/x?sslmode={mode}").read()


CANARY = "Qx7Zk"
AROUND = st.text(st.sampled_from("@:/?#[]%&=,;\\'\" é1"), max_size=3)


@settings(max_examples=60, deadline=None)
@given(before=AROUND, between=AROUND, after=AROUND)
def test_a_password_that_was_not_encoded_is_never_in_a_message(
    before: str, between: str, after: str
) -> None:
    password = f"{before}{CANARY}{between}{CANARY}{after}"
    assert CANARY not in said_about(f"postgresql://me:{password}@127.0.0.1:1/metrics")


def said_about(url: str) -> str:
    """What a log would say of an attempt to connect: the error and its causes."""

    async def attempt() -> None:
        with mapped_errors():
            await (await connect(DatabaseLocation(url=url), timeout=1)).close()

    with pytest.raises((StoreMisconfigured, StoreUnavailable)) as caught:
        asyncio.run(attempt())
    said = []
    error: BaseException | None = caught.value
    while error is not None:
        said.append(repr(error))
        error = error.__cause__ or error.__context__
    return "\n".join(said)
