"""What the demo watches: the simulated shop, or files of the user's own.

Pure: which simulator arguments, resources and incident belong to what was asked for.
"""

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

import yaml

from metricwatch_dev.demo.kubectl import Manifest
from metricwatch_dev.paths import REPOSITORY
from metricwatch_dev.prerequisites import MissingPrerequisiteError
from metricwatch_dev.simulator.replay import read_csv
from metricwatch_dev.simulator.signals import DAY

SHOP = REPOSITORY / "examples" / "shop"
INTERVAL = 15
# A ConfigMap holds 1 MiB, and base64 does not count.
LARGEST_FILES = 1_000_000


@dataclass(frozen=True, slots=True)
class Scenario:
    """What to simulate, what to apply, and what goes wrong."""

    simulator_arguments: list[str]
    resources: list[Manifest]
    incident: dict[str, object]
    incident_words: str
    files: dict[str, bytes]

    @property
    def model(self) -> str:
        """Return the name of the one model."""
        (name,) = (
            str(item["metadata"]["name"])
            for item in self.resources
            if item["kind"] == "AnomalyModel"
        )
        return name

    def files_checksum(self) -> str:
        """Return what changes when the files do."""
        digest = hashlib.sha256()
        for name, content in sorted(self.files.items()):
            digest.update(name.encode() + b"\0" + content)
        return digest.hexdigest()


def shop(*, algorithm: str | None) -> Scenario:
    """Return the simulated shop with `examples/shop`, learned by another family if asked."""
    resources = [
        manifest
        for path in (SHOP / "model.yaml", SHOP / "watches.yaml")
        for manifest in yaml.safe_load_all(path.read_text())
    ]
    if algorithm is not None:
        for manifest in resources:
            if manifest["kind"] == "AnomalyModel":
                manifest["spec"]["algorithm"] = {"type": algorithm}
    return Scenario(
        simulator_arguments=[f"--interval={INTERVAL}", "--backfill-days=14", "--pods=5"],
        resources=resources,
        incident={"kind": "latency", "magnitude": 5},
        incident_words="answers take five times as long",
        files={},
    )


def replay(paths: list[Path], *, algorithm: str | None, now: int) -> Scenario:
    """Return files of the user's own, a row every interval, watched by one watch.

    Time runs faster than it was recorded, and a day of the recording is as much shorter.

    Raises:
        MissingPrerequisiteError: A file cannot be read or they are too large together.
    """
    files = {f"{path.name.removesuffix('.gz')}.gz": _compressed(path) for path in paths}
    if sum(map(len, files.values())) > LARGEST_FILES:
        raise MissingPrerequisiteError(
            "the files are larger than 1 MB compressed: keep fewer rows, the newest 20,000 say."
        )
    return Scenario(
        simulator_arguments=[
            *("--csv", *(f"/files/{name}" for name in files)),
            f"--row-seconds={INTERVAL}",
            f"--origin={now}",
        ],
        resources=_replay_resources(algorithm, day_seconds=_shortest_day(paths)),
        incident={"kind": "shift", "magnitude": 50},
        incident_words="every series moves up by fifty times its usual spread",
        files=files,
    )


def _replay_resources(algorithm: str | None, *, day_seconds: int) -> list[Manifest]:
    # Seasonal unless asked otherwise, with a day as long as it now takes.
    chosen: Manifest = {"type": algorithm or "seasonal"}
    if chosen["type"] == "seasonal":
        chosen["seasonal"] = {"periods": [f"{day_seconds}s", f"{7 * day_seconds}s"]}
    common = {"apiVersion": "metricwatch.io/v1alpha1"}
    watch = {
        "modelRef": {"name": "replay"},
        "query": "replay",
        "interval": f"{INTERVAL}s",
        "delay": "5s",
        # Half a false alarm in a recorded week, many of which go by in one of ours.
        "detection": {"cooldown": "1m", "falseAlarmsPerWeek": round(0.5 * DAY / day_seconds, 1)},
    }
    return [
        {
            **common,
            "kind": "AnomalyModel",
            "metadata": {"name": "replay"},
            "spec": {"algorithm": chosen},
        },
        {**common, "kind": "MetricWatch", "metadata": {"name": "replay"}, "spec": watch},
    ]


def _shortest_day(paths: list[Path]) -> int:
    spacings = []
    for path in paths:
        try:
            times, _columns = read_csv(path)
        except (OSError, ValueError) as problem:
            raise MissingPrerequisiteError(f"cannot replay: {problem}") from problem
        spacings.append(max(1, int(times[-1] - times[0]) // (len(times) - 1)))
    return max(2, DAY // min(spacings)) * INTERVAL


def _compressed(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as problem:
        raise MissingPrerequisiteError(f"cannot replay: {problem}") from problem
    return content if path.suffix == ".gz" else gzip.compress(content, mtime=0)
