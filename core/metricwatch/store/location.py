"""Where the database is: a URL, or a file that holds one and is read again for each connection.

A mounted Secret changes under a running process; reading it anew for each connection is what makes
a rotated password take effect without a restart. Certificates that lie beside the URL, under the
names that Secrets use, are put into it, so that nobody has to know where they are mounted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

from metricwatch.store.errors import StoreMisconfigured
from metricwatch.store.url import problem_of, with_tls

URL_VARIABLE = "METRICWATCH_DATABASE_URL"
URL_FILE_VARIABLE = "METRICWATCH_DATABASE_URL_FILE"
AUTHORITY, CERTIFICATE, KEY = "ca.crt", "tls.crt", "tls.key"
"""Files beside the one with the URL, in the words of Kubernetes' own TLS Secrets."""


@dataclass(frozen=True, slots=True, repr=False)
class DatabaseLocation:
    """A PostgreSQL URL, or the file that holds it. Its `repr` shows no password.

    Attributes:
        url: like `postgresql://user:password@host:5432/database?sslmode=verify-full`.
        file: wins over `url`. `ca.crt` beside it is the authority that the server's certificate is
            verified against, `tls.crt` and `tls.key` are what we show the server.
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
        """The URL as it is now, with the certificates that lie beside it, and with `sslmode`.

        Raises:
            StoreMisconfigured: the file cannot be read, holds no PostgreSQL URL, or one that
                would do without TLS in silence.
        """
        url = self._written()
        problem = problem_of(url)
        if problem:
            raise StoreMisconfigured(f"the database URL {problem}")
        return with_tls(url if self.file is None else _with_certificates(url, self.file.parent))

    def content(self) -> dict[str, bytes]:
        """What another pod needs to get there: the URL as it is written, and the certificates.

        Raises:
            StoreMisconfigured: as for `read`.
        """
        found = {"url": self._written().encode()}
        if self.file is None:
            return found
        for name in (AUTHORITY, CERTIFICATE, KEY):
            path = self.file.with_name(name)
            if path.is_file():
                found[name] = _read(path, "for the database").encode()
        return found

    def _written(self) -> str:
        url = self.url or ""
        if self.file is not None:
            url = _read(self.file, "with the database URL").strip()
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


def _read(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StoreMisconfigured(
            f"the file {path} {what} cannot be read: "
            f"{getattr(error, 'strerror', None) or 'not UTF-8'}"
        ) from error


def _with_certificates(url: str, folder: Path) -> str:
    """The URL with what it does not say itself; an authority is there to be asked."""
    given = parse_qs(url.partition("?")[2], keep_blank_values=True)
    found: dict[str, str] = {}
    if (folder / AUTHORITY).is_file():
        found |= {"sslmode": "verify-full", "sslrootcert": str(folder / AUTHORITY)}
    if (folder / CERTIFICATE).is_file() and (folder / KEY).is_file():
        found |= {"sslcert": str(folder / CERTIFICATE), "sslkey": str(folder / KEY)}
    added = "&".join(f"{k}={quote(v, safe='/')}" for k, v in found.items() if k not in given)
    if not added:
        return url
    return f"{url}{'&' if '?' in url else '?'}{added}"
