"""Whether a component answers yet."""

import http.client
import os
import socket
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

Probe = Callable[[], bool]


def http_ok(address: str, port: int, path: str) -> Probe:
    """Return a probe for a plain HTTP endpoint that answers 200."""

    def probe() -> bool:
        connection = http.client.HTTPConnection(address, port, timeout=2)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return probe


def accepts_connections(address: str, port: int) -> Probe:
    """Return a probe for a TCP port."""

    def probe() -> bool:
        try:
            with socket.create_connection((address, port), timeout=2):
                return True
        except OSError:
            return False

    return probe


def succeeds(*arguments: str | Path, environment: Mapping[str, str]) -> Probe:
    """Return a probe that runs a program and looks at its exit status."""

    def probe() -> bool:
        done = subprocess.run(
            [os.fspath(argument) for argument in arguments],
            capture_output=True,
            env=environment,
            check=False,
            timeout=30,
        )
        return done.returncode == 0

    return probe


def is_free(address: str, port: int) -> bool:
    """Return whether a server could listen there now."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, port))
        except OSError:
            return False
    return True
