"""Log lines are JSON, whoever writes them."""

import json
import subprocess
import sys

import pytest

from metricwatch.logs import configure_logging

PROGRAM = """
import logging, structlog
from metricwatch.logs import configure_logging
configure_logging("trainer", level="INFO")
structlog.get_logger("ours").info("epoch done", epoch=3, loss=0.25)
logging.getLogger("theirs").warning("a library speaks: %s", "hello")
logging.getLogger("theirs").debug("not this")
structlog.get_logger("ours").info(
    'said {"level":"error"}\\n{"message":"forged"}\\r\\x00\\x1b[2J\\u2028\\ud800', name="a\\nb"
)
try:
    1 / 0
except ZeroDivisionError:
    structlog.get_logger("ours").exception("broken")
"""


def lines() -> list[dict[str, object]]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_every_line_is_json_with_the_same_keys() -> None:
    ours, theirs, _, broken = lines()
    assert ours["message"] == "epoch done"
    assert (ours["epoch"], ours["loss"], ours["level"]) == (3, 0.25, "info")
    assert ours["component"] == "trainer"
    assert theirs["message"] == "a library speaks: hello"
    assert theirs["logger"] == "theirs"
    assert "ZeroDivisionError" in str(broken["exception"])
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines())


def test_what_others_say_is_one_value_of_one_line_whatever_is_in_it() -> None:
    hostile = lines()[2]
    assert hostile["level"] == "info"
    assert hostile["name"] == "a\nb"
    assert str(hostile["message"]).startswith('said {"level":"error"}\n{"message":"forged"}\r')


def test_an_unknown_level_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'loud' is not one of"):
        configure_logging("trainer", level="loud")
