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
    assert location.read() == "postgres://moved/metrics"


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
