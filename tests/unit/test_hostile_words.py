"""Words of others (labels, answers, messages) reach people as words, and do nothing else.

What is tried: a terminal's control sequences, plain and as C1 characters, a carriage return that
writes over its line, line breaks that forge a row, marks that turn the direction of writing, and
half a surrogate pair, which no UTF-8 can hold.
"""

from __future__ import annotations

import json
import unicodedata
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.operator_builders import (
    CONFIG,
    NOW,
    make_health,
    make_model,
    make_overview,
    make_request,
    make_row,
    make_version,
    make_watch,
)
from tests.unit.version_builders import make_overview as make_models
from tests.unit.version_builders import make_version as make_shown

from metricwatch.sources.errors import quote
from metricwatch.store.rows import AnomalyRow, AnomalyState, HealthState, StoredAnomaly
from metricwatch.words import in_one_line, visible
from metricwatch_cli.anomalies.listing import describe, table
from metricwatch_cli.backtest.problems import WrongFile
from metricwatch_cli.backtest.reports import format_table
from metricwatch_cli.backtest.session import guarded
from metricwatch_cli.terminal import as_json, complain, say
from metricwatch_cli.versions.listing import versions_table
from metricwatch_cli.versions.showing import show
from metricwatch_operator.observed import Observed
from metricwatch_operator.planning.plan import plan

HOSTILE = "a\x1b[2J\x9b31m\rb\x0b\x85c\u2028\nfake  row\u202ed\u2066\x7f\x00\ud800"
WORDS = st.text(st.characters(codec=None), max_size=30)


def assert_harmless(text: str, *, lines: bool = True) -> None:
    """Nothing in it does anything to a terminal but, where there may be several, end a line."""
    for one in text:
        if one == "\n" and lines:
            continue
        assert unicodedata.category(one) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}, repr(one)
    text.encode()


@given(WORDS)
def test_visible_words_do_nothing_and_those_in_one_line_end_none(text: str) -> None:
    assert_harmless(visible(text).replace("\t", " "))
    assert_harmless(in_one_line(text), lines=False)
    assert_harmless(quote(text), lines=False)


@given(WORDS)
def test_json_says_the_same_and_does_nothing(text: str) -> None:
    shown = as_json({"said": [text]})
    assert_harmless(shown)
    assert json.loads(shown) == {"said": [text]}


@given(st.text(st.characters(categories=("L", "N", "P", "S")), max_size=30))
def test_words_that_do_nothing_stay_as_they_are(text: str) -> None:
    assert visible(text) == in_one_line(text) == text


def test_what_commands_write_does_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"one\n{HOSTILE}")
    complain(HOSTILE)

    def fails() -> int:
        raise WrongFile(HOSTILE, HOSTILE)

    assert guarded("backtest", fails) == 2
    captured = capsys.readouterr()
    assert_harmless(captured.out)
    assert_harmless(captured.err)
    assert captured.out.startswith("one\na\\x1b[2J")


def _anomaly() -> StoredAnomaly:
    row = AnomalyRow(
        metric_id=1,
        started_at=1_700_000_000,
        last_anomalous_at=1_700_000_060,
        peak_at=1_700_000_000,
        ended_at=None,
        state=AnomalyState.OPEN,
        kind="point",
        severity="warning",
        direction="above",
        peak_score=2.0,
        peak_value=1.0,
        peak_expected=0.0,
        samples=1,
    )
    return StoredAnomaly(
        id=1,
        model_id=1,
        watch_uid="watch-1",
        watch_name="cpu",
        labels=(("pod", HOSTILE),),
        system="",
        version=1,
        system_anomaly_id=None,
        anomaly=row,
    )


def test_a_label_adds_no_row_to_the_table_of_anomalies() -> None:
    shown = table([_anomaly()])
    assert_harmless(shown)
    assert len(shown.splitlines()) == 2
    assert_harmless(as_json(describe(_anomaly())))


def test_a_version_is_shown_in_the_rows_that_it_has() -> None:
    def lines(words: str) -> list[str]:
        version = make_shown(2, reason="Failed", message=words)
        shown = [*show(make_models(version), version, ())]
        listed = versions_table(make_models(version)).splitlines()
        return [*"\n".join(shown).splitlines(), *listed]

    hostile = lines(HOSTILE)
    assert len(hostile) == len(lines("plain"))
    assert_harmless("\n".join(hostile))


def test_a_series_adds_no_row_to_the_table_of_a_backtest() -> None:
    def report(words: str) -> dict[str, Any]:
        one = {
            "dataset": "",
            "series": words,
            "samples": 10,
            "families": {"zscore": 1},
            "anomalies": 0,
            "anomaliesPerWeek": 0.0,
            "labelled": None,
            "notes": [words],
        }
        return {"series": [one], "datasets": {}, "total": {**one, "injected": None}}

    shown = format_table(report(HOSTILE))
    assert_harmless(shown)
    assert len(shown.splitlines()) == len(format_table(report("plain")).splitlines())


def _everything_told(observed: Observed) -> list[str]:
    """Every string of statuses and events."""
    found: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, dict):
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list | tuple):
            for inner in value:
                walk(inner)

    for status in plan(observed, now=NOW, config=CONFIG).statuses:
        walk(status["status"])
    return found


@pytest.mark.parametrize("state", ["Failed", "Rejected", "Serving"])
def test_no_status_tells_words_that_do_anything(state: str) -> None:
    model, watch = make_model(), make_watch()
    version = make_version(
        make_request(model, watch), state=state, reason="QueryRefused", message=HOSTILE
    )
    health = replace(make_health(state=HealthState.QUERY_REFUSED), message=HOSTILE)
    overview = make_overview(model, (version,), (make_row(watch, health),))
    told = _everything_told(
        Observed("shop", "checkout", model=model, watches=(watch,), overview=overview)
    )
    assert any("\\x1b[2J" in words for words in told)
    for words in told:
        assert_harmless(words)
