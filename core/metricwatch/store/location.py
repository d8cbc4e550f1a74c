"""Where the database is: a URL, or a file that holds one and is read again for each connection.

A mounted Secret changes under a running process; reading it anew for each connection is what makes
a rotated password take effect without a restart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from metricwatch.store.errors import StoreMisconfigured

URL_VARIABLE = "METRICWATCH_DATABASE_URL"
URL_FILE_VARIABLE = "METRICWATCH_DATABASE_URL_FILE"


@dataclass(frozen=True, slots=True, repr=False)
class DatabaseLocation:
    """A PostgreSQL URL, or the file that holds it. Its `repr` shows no password.

    Attributes:
        url: like `postgresql://user:password@host:5432/database?sslmode=verify-full`.
        file: wins over `url`.
    """

    url: str | None = None
    file: Path | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> DatabaseLocation:
        """The location that the environment names.

        Raises:
            StoreMisconfigured: it names none.
        """
        file, url = environment.get(URL_FILE_VARIABLE), environment.get(URL_VARIABLE)
        if not file and not url:
            raise StoreMisconfigured(
                f"no database: set {URL_FILE_VARIABLE} to a file with a PostgreSQL URL, "
                f"or {URL_VARIABLE} to the URL"
            )
        return cls(url=url or None, file=Path(file) if file else None)

    def read(self) -> str:
        """The URL as it is now.

        Raises:
            StoreMisconfigured: the file cannot be read, or holds no PostgreSQL URL.
        """
        url = self.url or ""
        if self.file is not None:
            try:
                url = self.file.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise StoreMisconfigured(
                    f"the file {self.file} with the database URL cannot be read: "
                    f"{getattr(error, 'strerror', None) or 'not UTF-8'}"
                ) from error
        if not url.startswith(("postgresql://", "postgres://")):
            raise StoreMisconfigured(
                f"{self.file or URL_VARIABLE} holds no PostgreSQL URL: "
                "write it like postgresql://user:password@host:5432/database"
            )
        return url

    def __repr__(self) -> str:
        if self.file is not None:
            return f"DatabaseLocation(file={str(self.file)!r})"
        return f"DatabaseLocation(url={without_password(self.url or '')!r})"


def without_password(url: str) -> str:
    """The URL for a log: neither user, nor password, nor options.

    >>> without_password("postgresql://me:secret@db.shop:5432/metrics?sslmode=require")
    'postgresql://db.shop:5432/metrics'
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return "postgresql://?"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
