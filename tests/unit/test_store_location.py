from pathlib import Path

import pytest

from metricwatch.store.errors import StoreMisconfigured
from metricwatch.store.location import (
    URL_FILE_VARIABLE,
    URL_VARIABLE,
    DatabaseLocation,
    without_password,
)

URL = "postgresql://me:secret@db.shop:5432/metrics?sslmode=verify-full"


def test_a_file_wins_over_a_url_and_is_read_each_time(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(f"  {URL}\n", encoding="utf-8")
    location = DatabaseLocation.from_environment(
        {URL_VARIABLE: "postgresql://other/x", URL_FILE_VARIABLE: str(file)}
    )
    assert location.read() == URL
    file.write_text("postgres://moved/metrics", encoding="utf-8")
    assert location.read() == "postgres://moved/metrics?sslmode=verify-full"


def test_an_empty_variable_counts_as_unset() -> None:
    location = DatabaseLocation.from_environment({URL_FILE_VARIABLE: "", URL_VARIABLE: URL})
    assert location.read() == URL
    with pytest.raises(StoreMisconfigured, match=f"set {URL_FILE_VARIABLE}"):
        DatabaseLocation.from_environment({URL_FILE_VARIABLE: "", URL_VARIABLE: ""})


def test_a_file_that_is_no_text_is_said(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(StoreMisconfigured, match="not UTF-8"):
        DatabaseLocation(file=file).read()


@pytest.mark.parametrize("url", ["", "mysql://me:secret@db/metrics", "me:secret@db"])
def test_what_is_no_postgresql_url_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(StoreMisconfigured, match="holds no PostgreSQL URL") as caught:
        DatabaseLocation(url=url).read()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [URL, "postgresql://me:sec@ret@db/x", "postgresql://db/x?password=secret", "postgresql://["],
)
def test_no_secret_is_shown(url: str) -> None:
    shown = f"{without_password(url)} {DatabaseLocation(url=url)!r}"
    assert "secret" not in shown
    assert "sec@ret" not in shown


def beside(folder: Path, url: str, *names: str) -> DatabaseLocation:
    (folder / "url").write_text(url)
    for name in names:
        (folder / name).write_text("PEM")
    return DatabaseLocation(file=folder / "url")


def test_an_authority_beside_the_url_is_asked_and_a_certificate_shown(tmp_path: Path) -> None:
    location = beside(tmp_path, "postgresql://me@db/x", "ca.crt", "tls.crt", "tls.key")
    assert location.read() == (
        f"postgresql://me@db/x?sslmode=verify-full&sslrootcert={tmp_path}/ca.crt"
        f"&sslcert={tmp_path}/tls.crt&sslkey={tmp_path}/tls.key"
    )


def test_what_the_url_says_itself_is_left_alone(tmp_path: Path) -> None:
    url = "postgresql://me@db/x?sslmode=verify-ca&sslrootcert=/mine&sslcert=/a&sslkey=/b"
    assert beside(tmp_path, url, "ca.crt", "tls.crt", "tls.key").read() == url


def test_only_what_is_missing_is_added(tmp_path: Path) -> None:
    partly = beside(tmp_path, "postgresql://me@db/x?sslmode=verify-ca", "ca.crt").read()
    assert partly == f"postgresql://me@db/x?sslmode=verify-ca&sslrootcert={tmp_path}/ca.crt"


def test_a_certificate_without_its_key_is_not_shown(tmp_path: Path) -> None:
    url = "postgresql://me@db/x?sslmode=require"
    assert beside(tmp_path, url, "tls.crt").read() == url


def test_what_another_pod_gets_names_no_path_of_this_one(tmp_path: Path) -> None:
    location = beside(tmp_path, " postgresql://me@db/x\n", "ca.crt", "tls.crt", "tls.key")
    (tmp_path / "other").write_text("not for them")
    pem = dict.fromkeys(("ca.crt", "tls.crt", "tls.key"), b"PEM")
    assert location.content() == {"url": b"postgresql://me@db/x", **pem}
    assert DatabaseLocation(url="postgresql://db/x").content() == {"url": b"postgresql://db/x"}
