"""The termination message: what a trainer pod can still say when it is gone."""

import pytest

from metricwatch.verdict import (
    TERMINATION_MESSAGE_BYTES,
    ExitCode,
    Outcome,
    Verdict,
    parse_verdict,
)


def verdict(message: str = "Trained 12 series.") -> Verdict:
    return Verdict(
        outcome=Outcome.SUCCESSFUL, reason="Trained", message=message, version=3, series=12
    )


def test_a_verdict_survives_the_way_to_the_operator() -> None:
    assert parse_verdict(verdict().encode().decode()) == verdict()


def test_a_verdict_is_written_in_the_words_of_the_api() -> None:
    assert b'"leftOut":0' in verdict().encode()


@pytest.mark.parametrize("letter", ["a", "ü", "🦉", "\x01"])
def test_a_long_sentence_is_cut_so_that_kubernetes_keeps_the_whole_message(letter: str) -> None:
    encoded = verdict(letter * 10_000).encode()
    assert len(encoded) <= TERMINATION_MESSAGE_BYTES
    read = parse_verdict(encoded.decode())
    assert read is not None
    assert read.message.endswith("…")


def test_text_that_is_no_verdict_is_none() -> None:
    assert parse_verdict("") is None
    assert parse_verdict("OOMKilled") is None
    assert parse_verdict('{"outcome": "Great"}') is None


def test_a_field_that_a_newer_trainer_adds_is_ignored() -> None:
    text = verdict().encode().decode().replace("{", '{"energy": 3,', 1)
    assert parse_verdict(text) == verdict()


def test_being_stopped_has_the_exit_code_of_sigterm() -> None:
    assert ExitCode.STOPPED == 128 + 15
