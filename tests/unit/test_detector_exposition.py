"""Gauges as text: what Prometheus reads is what was meant, whatever labels come from outside."""

import re

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from metricwatch.series import Labels
from metricwatch_detector.exposition import (
    GAUGES,
    LONGEST_VALUE,
    SeriesGauges,
    WatchExposition,
    WatchLabels,
    format_numbers,
    render,
    render_labels,
)

SHOP = WatchLabels("shop", "latency", "checkout")
OWN = {"watch_namespace": "shop", "watch": "latency", "model": "checkout"}


def gauges(*values: float, anomalous: tuple[bool, ...] | None = None) -> SeriesGauges:
    value = np.array(values)
    return SeriesGauges(
        value=value,
        expected=value + 1,
        lower=value - 5,
        upper=value + 5,
        score=value / 10,
        anomalous=np.array(anomalous or [False] * len(values)),
    )


def shown(labels: list[Labels], what: SeriesGauges, watch: WatchLabels = SHOP) -> WatchExposition:
    exposition = WatchExposition(watch)
    exposition.update(labels, what)
    return exposition


def parsed(text: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset((OWN | labels).items())


def test_every_gauge_of_every_series_is_read_back() -> None:
    labels: list[Labels] = [(("pod", "a"),), (("pod", "b"),)]
    read = parsed(render([shown(labels, gauges(1.5, -2e9, anomalous=(False, True)))]))
    assert len(read) == 2 * len(GAUGES)
    assert read[key("metricwatch_value", pod="b")] == -2e9
    assert read[key("metricwatch_expected", pod="a")] == 2.5
    assert read[key("metricwatch_lower", pod="a")] == -3.5
    assert read[key("metricwatch_upper", pod="a")] == 6.5
    assert read[key("metricwatch_anomaly_score", pod="a")] == 0.15
    assert read[key("metricwatch_anomalous", pod="a")] == 0
    assert read[key("metricwatch_anomalous", pod="b")] == 1


def test_all_lines_of_a_metric_are_together() -> None:
    text = render([shown([()], gauges(1.0)), shown([()], gauges(2.0), WatchLabels("n", "w", "m"))])
    names = [line.split("{")[0] for line in text.decode().splitlines() if line[0] != "#"]
    assert names == [name for name, _ in GAUGES for _ in range(2)]
    assert text.endswith(b"\n")
    assert not text.startswith(b"\n")


def test_a_series_without_a_sample_has_no_line_until_it_has_one_again() -> None:
    labels: list[Labels] = [(("pod", "a"),), (("pod", "b"),)]
    exposition = shown(labels, gauges(1.0, float("nan")))
    assert {dict(labels)["pod"] for _, labels in parsed(render([exposition]))} == {"a"}
    exposition.update(labels, gauges(float("nan"), 2.0))
    assert parsed(render([exposition]))[key("metricwatch_value", pod="b")] == 2.0
    assert exposition.series == 1


def test_series_that_appear_later_are_shown() -> None:
    labels: list[Labels] = [(("pod", "a"),)]
    exposition = shown(labels, gauges(1.0))
    render([exposition])
    labels.append((("pod", "new"),))
    exposition.update(labels, gauges(1.0, 7.0))
    assert parsed(render([exposition]))[key("metricwatch_value", pod="new")] == 7.0


def test_without_series_there_is_no_text() -> None:
    assert render([]) == b""
    assert render([WatchExposition(SHOP)]) == b""
    assert render([shown([(("pod", "a"),)], gauges(float("nan")))]) == b""
    exposition = shown([()], gauges(1.0))
    exposition.clear()
    assert render([exposition]) == b""


def test_what_is_no_number_is_written_as_prometheus_writes_it() -> None:
    numbers = format_numbers(np.array([0.1, np.inf, -np.inf, np.nan, 1e300, -0.0]))
    assert [float(number) for number in numbers[:3]] == [0.1, np.inf, -np.inf]
    assert numbers[3] == b"NaN"
    assert float(numbers[4]) == 1e300


@pytest.mark.parametrize(
    "value",
    [
        'say "hi"',
        "back\\slash",
        "two\nlines",
        'all \\"\n of it\\',
        "} 1\nfake_metric 2",
        "äöü 日本 🚀",
        "\\n",
        "\x00\x7f",
    ],
)
def test_a_hostile_value_is_read_back_as_it_is(value: str) -> None:
    read = parsed(render([shown([(("path", value),)], gauges(1.0))]))
    assert read[key("metricwatch_value", path=value)] == 1.0
    assert len(read) == len(GAUGES)


def test_a_lone_surrogate_does_not_break_the_scrape() -> None:
    text = render([shown([(("path", "a\ud800b"),)], gauges(1.0))])
    assert parsed(text)[key("metricwatch_value", path="a?b")] == 1.0


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("pod", "pod"),
        ("k8s.pod/name", "k8s_pod_name"),
        ("9lives", "_9lives"),
        ("__address__", "address__"),
        ("________", "label"),
        ("größe", "gr__e"),
        ("watch", "exported_watch"),
        ("model", "exported_model"),
        ("metric", "exported_metric"),
    ],
)
def test_label_names_are_made_valid(name: str, written: str) -> None:
    read = parsed(render([shown([((name, "x"),)], gauges(1.0))]))
    assert key("metricwatch_value", **{written: "x"}) in read


def test_two_names_that_become_one_stay_two() -> None:
    rendered = render_labels(SHOP, (("a.b", "1"), ("a_b", "2")))
    assert rendered.endswith('a_b="1",exported_a_b="2"')


def test_the_metric_name_is_a_label_and_an_empty_label_is_none() -> None:
    rendered = render_labels(SHOP, (("__name__", "up"), ("job", "")))
    assert rendered == 'watch_namespace="shop",watch="latency",model="checkout",metric="up"'


def test_a_long_value_is_cut_and_stays_different_from_its_like() -> None:
    one, other = (render_labels(SHOP, (("q", "x" * 5000 + end),)) for end in "ab")
    assert one != other
    (value,) = re.findall(r'q="(.*)"', one)
    assert len(value) == LONGEST_VALUE
