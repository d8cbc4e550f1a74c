from typing import Any

import pytest
from pydantic import ValidationError

from metricwatch.assignments import TrainingRequest, WatchSettings

WATCH: dict[str, Any] = {
    "uid": "u1",
    "namespace": "shop",
    "name": "latency",
    "queries": [{"expr": "up"}],
    "source": {"url": "http://prometheus:9090"},
    "intervalSeconds": 60,
}


def make_request(training: dict[str, Any] | None = None, **watch: Any) -> TrainingRequest:
    return TrainingRequest.from_row({"training": training or {}, "watches": [WATCH | watch]})


def make_tuned(**tuning: Any) -> TrainingRequest:
    return TrainingRequest.from_row({"tuning": {"enabled": True} | tuning, "watches": [WATCH]})


def test_a_request_is_read_as_it_was_written() -> None:
    request = make_request(
        {
            "window": "7d",
            "exclude": [{"from": "2026-11-03T10:00:00Z", "to": "2026-11-03T14:00:00Z"}],
        }
    )
    assert TrainingRequest.from_row(request.to_row()) == request


def test_settings_are_read_as_they_were_written() -> None:
    settings = WatchSettings.from_row(
        WATCH | {"system": "checkout", "detection": {"direction": "above", "minDuration": "5m"}}
    )
    row = settings.to_row()
    assert WatchSettings.from_row(row) == settings
    assert (row["intervalSeconds"], row["detection"]["minDuration"]) == (60, "5m")


def test_a_fingerprint_is_the_same_in_every_process() -> None:
    assert make_request().fingerprint() == make_request().fingerprint()
    assert len(make_request().fingerprint()) == 64


@pytest.mark.parametrize(
    "same",
    [
        make_request({"schedule": "0 3 * * *", "timeZone": "Europe/Berlin"}),
        make_request({"timeout": "2h", "parallelism": 4}),
        make_request({"resources": {"limits": {"memory": "2Gi"}}}),
        make_request(source={"url": "http://prometheus:9090", "timeoutSeconds": 5}),
        make_request(
            source={
                "url": "http://prometheus:9090",
                "authDirectory": "/var/run/x",
                "authSecret": "x",
            }
        ),
        make_request({"window": "14d"}, delaySeconds=30, name="renamed"),
        make_request(groupBy=[]),
        TrainingRequest.from_row({"tuning": {"trials": 5}, "watches": [WATCH]}),
    ],
)
def test_what_teaches_nothing_new_leaves_the_fingerprint_alone(same: TrainingRequest) -> None:
    assert same.fingerprint() == make_request().fingerprint()


@pytest.mark.parametrize(
    "other",
    [
        make_request({"window": "7d"}),
        make_request({"seed": 1}),
        make_request({"scaling": "none"}),
        make_request(queries=[{"expr": "up > 0"}]),
        make_request(uid="u2"),
        make_request(intervalSeconds=30),
        make_request(maxSeries=5),
        make_request(groupBy=["pod"]),
        make_tuned(trials=30),
        make_request(source={"url": "http://elsewhere:9090"}),
        TrainingRequest.from_row({"algorithm": {"type": "lstm"}, "watches": [WATCH]}),
        TrainingRequest.from_row({"watches": [WATCH, WATCH | {"uid": "u2"}]}),
    ],
)
def test_what_teaches_something_else_changes_the_fingerprint(other: TrainingRequest) -> None:
    assert other.fingerprint() != make_request().fingerprint()


def test_how_long_and_where_a_search_runs_leaves_the_fingerprint_alone() -> None:
    assert make_tuned(timeout="2h").fingerprint() == make_tuned().fingerprint()
    assert make_tuned(trials=5).fingerprint() != make_tuned().fingerprint()


def test_an_upgrade_alone_trains_nothing_anew() -> None:
    # As the first release had it: a request of its database must keep its fingerprint. What was
    # left to defaults stands in the row as the default of that time.
    assert make_request({"minSamples": 288}).fingerprint() == (
        "26b8211c99ac1612cffdcbf5f7a581684bf4853517a94c382c6eb25225e68d3b"
    )


def test_the_order_of_the_watches_is_no_matter() -> None:
    watches = [WATCH, WATCH | {"uid": "u2"}]
    one = TrainingRequest.from_row({"watches": watches})
    other = TrainingRequest.from_row({"watches": watches[::-1]})
    assert one.fingerprint() == other.fingerprint()


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"queries": []}, "queries"),
        ({"queries": [{"expr": ""}]}, "expr"),
        ({"intervalSeconds": 0}, "intervalSeconds"),
        ({"maxSeries": 0}, "maxSeries"),
        ({"source": {"url": "ftp://x"}}, "source"),
    ],
)
def test_a_watch_that_makes_no_sense_is_refused(change: dict[str, Any], where: str) -> None:
    with pytest.raises(ValidationError, match=where):
        WatchSettings.from_row(WATCH | {"system": "s"} | change)


def test_a_request_without_watches_is_refused() -> None:
    with pytest.raises(ValidationError, match="watches"):
        TrainingRequest.from_row({"watches": []})


def test_fields_of_a_newer_release_are_left_alone_however_deep_they_are() -> None:
    settings = WatchSettings.from_row(
        WATCH | {"system": "s", "detection": {"direction": "above", "mood": 3}, "weather": {}}
    )
    assert settings.detection.direction == "above"


def test_a_copy_with_other_watches_has_a_fingerprint_of_its_own() -> None:
    request = make_request()
    known = request.fingerprint()
    (watch,) = request.watches
    other = request.model_copy(
        update={"watches": (watch.model_copy(update={"interval_seconds": 77}),)}
    )
    assert other.fingerprint() != known
    assert request.fingerprint() == known
    # What was worked out is no part of the value.
    assert request == make_request()
    assert "fingerprint" not in str(request.to_row())
