from datetime import UTC, datetime
from typing import Any

import pytest

from metricwatch.resources import (
    API_VERSION,
    AlgorithmType,
    AnomalyModel,
    InvalidResource,
    MetricWatch,
    VersionState,
    parse_model,
    parse_watch,
)


def model(spec: Any = None, **fields: Any) -> AnomalyModel:
    manifest = {
        "apiVersion": API_VERSION,
        "kind": "AnomalyModel",
        "metadata": {"name": "checkout"},
    }
    return parse_model(manifest | {"spec": spec or {}} | fields)


def watch(spec: dict[str, Any]) -> MetricWatch:
    metadata = {"name": "latency", "namespace": "shop"}
    return parse_watch(
        {"apiVersion": API_VERSION, "kind": "MetricWatch", "metadata": metadata, "spec": spec}
    )


def problems(spec: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(InvalidResource) as caught:
        watch({"modelRef": {"name": "checkout"}, "query": "up"} | spec)
    return dict(caught.value.problems)


def test_an_empty_spec_is_a_working_model() -> None:
    spec = model().spec
    assert spec.algorithm.type == AlgorithmType.AUTO
    assert spec.training.window.seconds == 14 * 86_400
    assert spec.version is None
    assert spec.suspend is False


def test_a_model_without_a_spec_is_a_working_model() -> None:
    assert parse_model({"metadata": {"name": "checkout"}}).spec == model().spec


def test_a_model_and_a_query_are_a_working_watch() -> None:
    spec = watch({"modelRef": {"name": "checkout"}, "query": "up"}).spec
    assert spec.interval.seconds == 60
    assert spec.detection.cooldown.seconds == 300
    assert [(level.at_least, level.name) for level in spec.detection.severity] == [
        (1, "warning"),
        (3, "critical"),
    ]


def test_a_resource_is_born_not_ready() -> None:
    assert model().status.observed_generation == -1
    assert model().status.conditions == ()


def test_null_means_unset_as_it_does_for_the_api_server() -> None:
    assert model({"version": None, "training": {"window": None}}).spec == model().spec


def test_an_unknown_field_is_refused_with_the_one_that_was_meant() -> None:
    assert problems({"intervall": "1m"}) == {
        "spec.intervall": "unknown field; did you mean interval?"
    }
    assert problems({"detection": {"samples": {"anomalus": 2}}}) == {
        "spec.detection.samples.anomalus": "unknown field; did you mean anomalous?"
    }


def test_an_unknown_field_is_refused_also_when_it_is_null() -> None:
    assert problems({"xyz": None}) == {"spec.xyz": "unknown field"}


def test_every_problem_is_named_with_its_path() -> None:
    found = problems(
        {
            "query": None,
            "queries": [{"name": "a"}, {"name": "b", "expr": ""}],
            "interval": "1 minute",
            "detection": {"direction": "up", "maintenance": [{"schedule": "daily"}]},
        }
    )
    assert found["spec.queries[0].expr"] == "is required"
    assert found["spec.interval"].startswith("'1 minute' is not a duration: write it like 90s")
    assert found["spec.detection.direction"] == "'up' must be one of 'both', 'above' or 'below'"
    assert found["spec.detection.maintenance[0].schedule"].startswith("must be a cron line")
    assert found["spec.detection.maintenance[0].duration"] == "is required"
    assert "spec.queries[1].expr" in found


def test_the_message_names_the_resource() -> None:
    with pytest.raises(InvalidResource, match=r"^MetricWatch shop/latency: spec\.query"):
        watch({"modelRef": {"name": "checkout"}, "query": 5})


def test_a_time_zone_that_does_not_exist_is_refused() -> None:
    schedule = {"schedule": "0 2 * * 0", "duration": "1h", "timeZone": "Europe/Atlantis"}
    found = problems({"detection": {"maintenance": [schedule]}})
    assert found == {
        "spec.detection.maintenance[0].timeZone": "no time zone 'Europe/Atlantis': "
        "write an IANA name like UTC or Europe/Berlin"
    }


@pytest.mark.parametrize("schedule", ["0 0 31 2 *", "0 0 30,31 2 *", "0 0 31 4,6 *"])
def test_a_schedule_on_a_day_that_never_comes_is_refused(schedule: str) -> None:
    found = problems({"detection": {"maintenance": [{"schedule": schedule, "duration": "1h"}]}})
    message = f"{schedule!r} names a day that no month has"
    assert found == {"spec.detection.maintenance[0].schedule": message}


def test_a_schedule_on_the_29th_of_february_is_fine() -> None:
    assert model({"training": {"schedule": "0 0 29 2 *"}}).spec.training.schedule == "0 0 29 2 *"


def test_a_number_in_quotes_is_refused_as_the_api_server_does() -> None:
    assert "spec.maxSeries" in problems({"maxSeries": "1000"})


def test_a_number_that_json_cannot_hold_is_a_problem_and_no_crash() -> None:
    found = problems({"detection": {"falseAlarmsPerWeek": float("nan")}})
    assert "cannot be written as JSON" in found[""]


def test_unknown_fields_of_status_and_metadata_are_passed_over() -> None:
    resource = model(
        metadata={"name": "checkout", "managedFields": [], "generation": 4, "uid": "u"},
        status={"observedGeneration": 4, "fromANewerRelease": {"a": 1}},
    )
    assert resource.metadata.generation == 4
    assert resource.status.observed_generation == 4


def test_a_status_survives_being_written_and_read() -> None:
    time = "2026-11-03T10:00:00Z"
    written = {
        "observedGeneration": 2,
        "servingVersion": 1,
        "versions": [
            {
                "version": 1,
                "state": "Serving",
                "reason": "",
                "message": "",
                "trainedAt": time,
                "window": {"from": time, "to": time},
                "algorithm": "auto",
                "families": {"ensemble": 12, "lstm": 3},
                "verdict": "Successful",
                "quality": {"anomalyRate": 0.01},
                "dataHash": "abc",
            }
        ],
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "Serving",
                "message": "version 1 serves",
                "lastTransitionTime": time,
                "observedGeneration": 2,
            }
        ],
    }
    status = model(status=written).status
    assert status.versions[0].state is VersionState.SERVING
    assert status.to_manifest() == written


def test_status_times_are_whole_seconds_so_that_reading_back_changes_nothing() -> None:
    now = datetime(2026, 11, 3, 10, 0, 0, 123456, tzinfo=UTC)
    status = model().status.model_validate({"last_training_time": now})
    assert status.to_manifest()["lastTrainingTime"] == "2026-11-03T10:00:00Z"


def test_a_time_with_an_offset_is_read_as_utc() -> None:
    exclusion = {"from": "2026-11-03T10:00:00+02:00", "to": "2026-11-03T09:00:00Z"}
    spec = model({"training": {"exclude": [exclusion]}}).spec
    assert spec.training.exclude[0].start == datetime(2026, 11, 3, 8, tzinfo=UTC)


def test_several_broken_rules_of_one_object_are_all_said() -> None:
    notification = {"name": "a", "webhook": {"url": "http://a"}, "minSeverity": "loud"}
    found = problems({"queries": [{"name": "a", "expr": "up"}], "notifications": [notification]})
    assert "set exactly one of query and queries" in found["spec"]
    assert "minSeverity must be one of the names" in found["spec"]


def test_a_resource_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        model().spec.suspend = True  # type: ignore[misc]
