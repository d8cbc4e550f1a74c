"""Real VictoriaMetrics and Prometheus processes for tests, each in a directory of its own."""

import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import httpx
from tests.integration.free_ports import free_port

from metricwatch_dev.paths import cache_directory

START_SECONDS = 180
STOP_SECONDS = 30

NO_SCRAPING = "scrape_configs: []\n"


class MetricsServer(ABC):
    """One process that can be stopped and started again on the same port and data."""

    program: str
    ready_path: str

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address for clients on this machine."""
        return f"http://127.0.0.1:{self.port}"

    @abstractmethod
    def arguments(self) -> list[str]:
        """The command line after the program."""

    def is_ready(self) -> bool:
        """Whether the server answers queries."""
        try:
            return httpx.get(f"{self.url}{self.ready_path}", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def start(self) -> None:
        """Returns when the server answers queries."""
        command = [str(cache_directory() / "services" / "bin" / self.program), *self.arguments()]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.directory)
        deadline = time.monotonic() + START_SECONDS
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise AssertionError(f"{self.program} did not start:\n{self._log_end()}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Ends the process and keeps its data."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def _log_end(self) -> str:
        return (self.directory / "log").read_text(errors="replace")[-3000:]


class VictoriaMetrics(MetricsServer):
    """A single node that keeps everything it is given."""

    program = "victoria-metrics"
    ready_path = "/health"

    def __init__(self, directory: Path, *flags: str) -> None:
        super().__init__(directory)
        self.flags = flags

    def arguments(self) -> list[str]:
        return [
            f"-storageDataPath={self.directory / 'data'}",
            f"-httpListenAddr=127.0.0.1:{self.port}",
            "-retentionPeriod=100y",
            "-memory.allowedBytes=256MB",
            *self.flags,
        ]

    def import_text(self, lines: Iterable[str]) -> None:
        """Stores lines `name{label="value"} value milliseconds`; they can be queried at once."""
        with httpx.Client(base_url=self.url, timeout=60) as client:
            body = "\n".join(lines)
            client.post("/api/v1/import/prometheus", content=body).raise_for_status()
            client.get("/internal/force_flush").raise_for_status()


class Prometheus(MetricsServer):
    """A server with a configuration and, when given, a history to start with."""

    program = "prometheus"
    ready_path = "/-/ready"

    def __init__(
        self,
        directory: Path,
        *flags: str,
        configuration: str = NO_SCRAPING,
        history: Sequence[str] = (),
    ) -> None:
        super().__init__(directory)
        self.flags = flags
        self.configuration = configuration
        if history:
            self._backfill(history)

    def arguments(self) -> list[str]:
        (self.directory / "prometheus.yml").write_text(
            self.configuration.replace("THIS_SERVER", f"127.0.0.1:{self.port}")
        )
        return [
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            "--storage.tsdb.retention.time=100y",
            f"--web.listen-address=127.0.0.1:{self.port}",
            *self.flags,
        ]

    def _backfill(self, lines: Sequence[str]) -> None:
        """Stores lines `name{label="value"} value milliseconds`, those of a series together."""
        samples = []
        for line in lines:
            sample, _, milliseconds = line.rpartition(" ")
            samples.append(f"{sample} {int(milliseconds) / 1000:.3f}")
        text = "\n".join([*samples, "# EOF", ""])
        (self.directory / "history.txt").write_text(text)
        promtool = cache_directory() / "services" / "bin" / "promtool"
        subprocess.run(
            [
                str(promtool),
                *("tsdb", "create-blocks-from", "openmetrics", "--quiet"),
                *("history.txt", "data"),
            ],
            cwd=self.directory,
            check=True,
            capture_output=True,
        )


def exposition(
    name: str, labels: Mapping[str, str], samples: Iterable[tuple[int, float]]
) -> list[str]:
    """Returns lines of one series; times are unix seconds."""
    inner = ",".join(f'{label}="{text}"' for label, text in labels.items())
    return [f"{name}{{{inner}}} {value!r} {t * 1000}" for t, value in samples]
