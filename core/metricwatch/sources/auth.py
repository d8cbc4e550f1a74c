"""Credentials and TLS material of a source, from a mounted Secret.

Kubernetes exchanges the content of a mounted Secret by swapping the symbolic link `..data`, so a
rotation shows as other inodes and times: the caller compares `fingerprint` before each request and
loads again when it differs. Certificates are always verified, against `ca.crt` when the Secret has
one, otherwise against the public authorities.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import httpx

from metricwatch.sources.errors import SecretMissing, quote

_FILES = ("username", "password", "token", "ca.crt", "tls.crt", "tls.key")
_FILE_BYTES = 1024 * 1024

Fingerprint = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """How requests identify themselves and how the server is verified; shows nothing of it."""

    authorization: httpx.Auth | None
    tls: ssl.SSLContext


def fingerprint(directory: str | None) -> Fingerprint:
    """Returns what differs as soon as a file of the mounted Secret does."""
    if directory is None:
        return ()
    found = []
    for name in _FILES:
        try:
            state = os.stat(os.path.join(directory, name))
        except OSError:
            continue
        found.append((name, state.st_ino, state.st_mtime_ns, state.st_size))
    return tuple(found)


def load_credentials(directory: str | None, *, secret: str) -> Credentials:
    """Returns the credentials in a mounted Secret, or anonymous ones when `directory` is None.

    Args:
        directory: where the Secret is mounted.
        secret: its name, for messages.

    Raises:
        SecretMissing: the Secret is not there, or holds what cannot be used.
    """
    if directory is None:
        return Credentials(authorization=None, tls=httpx.create_ssl_context())
    try:
        return _load(_current(directory), secret)
    except FileNotFoundError:
        # The Secret was exchanged while it was read; the new content is complete.
        return _load(_current(directory), secret)


def _current(directory: str) -> Path:
    """The directory behind `..data`, so that all files read are of one generation."""
    generation = Path(directory, "..data")
    return generation.resolve() if generation.exists() else Path(directory)


def _load(directory: Path, secret: str) -> Credentials:
    present = {name for name in _FILES if (directory / name).is_file()}
    problem = _problem(present)
    if problem:
        raise SecretMissing(f"Secret {secret} {problem}.")
    return Credentials(
        authorization=_authorization(directory, present, secret),
        tls=_tls(directory, present, secret),
    )


def _problem(present: set[str]) -> str:
    if not present:
        return (
            "is missing or has none of the keys username, password, token, ca.crt, tls.crt and "
            "tls.key; create it in the namespace of the resource"
        )
    if {"token", "username"} <= present:
        return "has both token and username; keep the one that the server expects"
    for one, other in (("username", "password"), ("tls.crt", "tls.key")):
        if (one in present) != (other in present):
            return f"needs both {one} and {other}, and has only one of them"
    return ""


def _authorization(directory: Path, present: set[str], secret: str) -> httpx.Auth | None:
    if "token" in present:
        token = _text(directory / "token", secret)
        if not (token.isascii() and token.isprintable()):
            raise SecretMissing(f"Secret {secret} has a token that no HTTP header can hold.")
        return _Bearer(token)
    if "username" in present:
        return httpx.BasicAuth(
            _text(directory / "username", secret), _text(directory / "password", secret)
        )
    return None


def _text(path: Path, secret: str) -> str:
    with path.open("rb") as file:
        content = file.read(_FILE_BYTES)
    try:
        # A Secret made with `echo` ends in a newline, which belongs to nobody's password.
        return content.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise SecretMissing(f"Secret {secret} has a {path.name} that is not UTF-8.") from error


def _tls(directory: Path, present: set[str], secret: str) -> ssl.SSLContext:
    try:
        if "ca.crt" in present:
            context = ssl.create_default_context(cafile=directory / "ca.crt")
        else:
            context = httpx.create_ssl_context()
        if "tls.crt" in present:
            context.load_cert_chain(directory / "tls.crt", directory / "tls.key")
    except ssl.SSLError as error:
        raise SecretMissing(
            f"Secret {secret} has certificates that cannot be used: {quote(str(error))}. "
            "ca.crt, tls.crt and tls.key must be PEM, and tls.key must belong to tls.crt."
        ) from error
    return context


class _Bearer(httpx.Auth):
    """A bearer token (RFC 6750)."""

    def __init__(self, token: str) -> None:
        self._header = f"Bearer {token}"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = self._header
        yield request
