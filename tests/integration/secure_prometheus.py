"""A Prometheus that insists on TLS and a user, or on a certificate."""

from __future__ import annotations

from pathlib import Path

from tests.integration.certificates import Authority
from tests.integration.metrics_servers import Prometheus

AUTHORITY = Authority()
# bcrypt of the cheapest cost.
FIRST = "$2b$04$abcdefghijklmnopqrstuu1yHHzeesYlaDAogf8rz2bpLgGRIp.lG"  # first password
SECOND = "$2b$04$abcdefghijklmnopqrstuuYXgnvGJtLjV6/h4U.wE4fRf3g3tSoYG"  # second password

TLS = """
tls_server_config:
  cert_file: server.crt
  key_file: server.key
"""


class SecurePrometheus(Prometheus):
    """A server with a web configuration, which it reads again for each connection."""

    def __init__(self, directory: Path, web: str) -> None:
        super().__init__(directory, "--web.config.file=web.yml")
        AUTHORITY.issue("server").write(directory, "server")
        (directory / "clients.crt").write_bytes(AUTHORITY.certificate)
        self.secure(web)

    @property
    def authority(self) -> Authority:
        return AUTHORITY

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def secure(self, web: str) -> None:
        (self.directory / "web.yml").write_text(web)

    def is_ready(self) -> bool:
        return "Server is ready to receive web requests" in self._log_end()
