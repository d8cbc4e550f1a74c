"""The page about sizes says what the code and the chart say."""

from __future__ import annotations

import re

import pytest
import yaml

from metricwatch import memory
from metricwatch.resources import AnomalyModelSpec
from metricwatch.resources.algorithm import Algorithm
from metricwatch_dev.paths import REPOSITORY
from metricwatch_operator.planning import training_estimates
from metricwatch_operator.planning.config import Config

PAGE = (REPOSITORY / "docs" / "sizing.md").read_text()
VALUES = yaml.safe_load((REPOSITORY / "charts" / "metricwatch" / "values.yaml").read_text())
SCORE_BYTES = 156
CONFIG = Config(trainer_image="t", detector_image="d")


def words(resources: dict[str, dict[str, str]]) -> str:
    requests, limits = resources["requests"], resources["limits"]
    return f"requests {requests['cpu']} CPU and {requests['memory']}, limit {limits['memory']}"


@pytest.mark.parametrize(
    "said",
    [
        f"{memory.BASE_BYTES // 2**20} MiB, and for each series {memory.SERIES_BYTES:,} bytes",
        f"default | {words(CONFIG.detector_resources)}",  # type: ignore[arg-type]
        f"default | {words(CONFIG.trainer_resources)}",  # type: ignore[arg-type]
        f"Default: {words(VALUES['operator']['resources'])}",
        f"{training_estimates._BASE_BYTES // 2**20} MiB, and the larger of "
        f"{training_estimates._READ_BYTES} bytes",
        f"own slice {training_estimates._HELD_BYTES} bytes for each sample with "
        f"{training_estimates._LEARNED_BYTES} for each of the first "
        f"{training_estimates._TOGETHER / 1e6} million",
        f"longer than {training_estimates.MOST_TICKS:,} samples",
        f"`detector.scoreRetentionDays` ({VALUES['detector']['scoreRetentionDays']})",
        f"`trainer.concurrentTrainings` ({VALUES['trainer']['concurrentTrainings']})",
    ],
)
def test_the_page_says_what_code_and_chart_say(said: str) -> None:
    assert said in PAGE


def test_the_estimates_on_the_page_are_those_of_the_status() -> None:
    rows = re.findall(r"^\| (\w+), ([\d,]+) \| (\d+Mi) \|", PAGE, re.MULTILINE)
    assert len(rows) >= 4
    for family, series, estimate in rows:
        share = memory.Share(family, int(series.replace(",", "")), 10)
        algorithm = Algorithm.model_validate({"type": family})
        assert memory.as_quantity(memory.detector_bytes([share], algorithm)) == estimate


def test_the_disk_that_scores_take_follows_from_the_bytes_of_one() -> None:
    rows = re.findall(r"^\| ([\d,]+) every (minute|10 s) \| [\d,]+ \| ([\d.]+) GB", PAGE, re.M)
    assert len(rows) == 3
    assert f"{SCORE_BYTES} bytes" in PAGE
    for series, interval, size in rows:
        ticks = 14 * 86_400 / (60 if interval == "minute" else 10)
        gigabytes = int(series.replace(",", "")) * ticks * SCORE_BYTES / 1e9
        assert float(size) == pytest.approx(gigabytes, rel=0.02)


@pytest.mark.parametrize("field", sorted(set(re.findall(r"`(detector|training)\.(\w+)`", PAGE))))
def test_every_setting_of_a_model_on_the_page_exists(field: tuple[str, str]) -> None:
    block, name = field
    known = AnomalyModelSpec.model_fields[block].annotation
    in_spec = name in {one.alias or key for key, one in known.model_fields.items()}  # type: ignore[union-attr]
    assert in_spec or name in VALUES[block]
