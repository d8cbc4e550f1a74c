"""`metricwatch versions` without a database: choosing, describing, comparing, drawing."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.version_builders import (
    REQUEST,
    START,
    make_gate,
    make_overview,
    make_report,
    make_version,
)

from metricwatch.assignments import TrainingRequest
from metricwatch.gate import GateMeasurement
from metricwatch.resources import VersionState
from metricwatch.store.catalogue import ChunkEntry, ModelEntry
from metricwatch.store.rows import WatchOverview
from metricwatch_cli.backtest.problems import WrongFile, WrongInput
from metricwatch_cli.main import main
from metricwatch_cli.versions.asking import choose_model, choose_number
from metricwatch_cli.versions.describing import describe, gate_of
from metricwatch_cli.versions.differences import compare, differences_table
from metricwatch_cli.versions.gate_plot import write_gate_plot
from metricwatch_cli.versions.gate_table import gate_rows
from metricwatch_cli.versions.importing import match_watches, rename_in_report
from metricwatch_cli.versions.listing import models_as, versions_table
from metricwatch_cli.versions.showing import show

MODELS = tuple(
    ModelEntry(number, f"uid-{number}", namespace, name, 2, False, 3)
    for number, (namespace, name) in enumerate(
        [("bank", "checkout"), ("shop", "checkout"), ("shop", "search"), ("shop", "search")], 1
    )
)


def test_a_watch_that_was_taken_over_says_which_version_learned_it() -> None:
    report = make_report("pod-0")
    report["watches"][0]["from"] = 2
    version = make_version(3, report=report)
    (watch,) = describe(version)["metrics"]
    assert watch["learnedBy"] == 2
    text = "\n".join(show(make_overview(version), version, ()))
    head, row = (line for line in text.splitlines() if line.startswith(("WATCH", "shop/")))
    assert "FROM" in head
    assert "version 2" in row
    learned = "\n".join(show(make_overview(make_version()), make_version(), ()))
    assert "version 2" not in learned


def test_a_model_is_found_by_its_name_where_only_one_has_it() -> None:
    assert choose_model(MODELS[:3], name="search", namespace=None).id == 3
    assert choose_model(MODELS[1:], name="checkout", namespace="shop").id == 2


def test_of_a_model_that_was_made_anew_the_last_one_counts() -> None:
    assert choose_model(MODELS, name="search", namespace="shop").id == 4


def test_a_name_in_several_namespaces_needs_the_namespace() -> None:
    with pytest.raises(WrongInput, match=r"\(bank, shop\): add --namespace"):
        choose_model(MODELS, name="checkout", namespace=None)


def test_an_unknown_model_is_answered_with_those_that_exist() -> None:
    with pytest.raises(WrongInput, match="no model cart; there are: bank/checkout, shop/check"):
        choose_model(MODELS, name="cart", namespace=None)
    with pytest.raises(WrongInput, match="no model cart in namespace x; there are no models"):
        choose_model((), name="cart", namespace="x")
    many = [ModelEntry(n, f"u{n}", "ns", f"m{n}", None, False, 0) for n in range(30)]
    with pytest.raises(WrongInput, match="m19 and 10 more"):
        choose_model(many, name="cart", namespace=None)


def test_without_a_number_the_serving_version_is_meant() -> None:
    overview = make_overview(make_version(2), make_version(1), serving=1)
    assert choose_number(overview, None) == 1
    assert choose_number(overview, 2) == 2
    with pytest.raises(WrongInput, match="shop/checkout has no version 3; there are: 2, 1"):
        choose_number(overview, 3)
    with pytest.raises(WrongInput, match="no version of model shop/checkout serves, so name one"):
        choose_number(make_overview(make_version(1)), None)
    with pytest.raises(WrongInput, match="there are no versions"):
        choose_number(make_overview(), None)


def test_a_version_is_described_with_metrics_data_code_and_parameters() -> None:
    version = make_version(
        4,
        report=make_report(
            "a",
            families={"isolationForest": 1},
            watches=[
                {
                    "uid": "watch-1",
                    "name": "latency",
                    "trained": 1,
                    "leftOut": 2,
                    "errorToPersistence": 0.7,
                    "tuning": {"parameters": {"trees": 60}},
                }
            ],
            gate=make_gate(),
        ),
    )
    known = describe(version)
    assert json.loads(json.dumps(known)) == known
    assert known["metrics"] == [
        {
            "watch": "shop/latency",
            "uid": "watch-1",
            "queries": ["up"],
            "intervalSeconds": 600,
            "trained": 1,
            "leftOut": 2,
            "errorToPersistence": 0.7,
            "learnedBy": None,
        }
    ]
    assert known["data"]["hash"] == "abc"
    assert (known["codeVersion"], known["seed"]) == ("0.1.0", 7)
    assert known["parameters"]["algorithm"] == {"type": "zscore"}
    assert known["tuned"] == {"latency": {"parameters": {"trees": 60}}}
    assert "kurtosis" in " ".join(known["features"]["isolationForest"])
    assert "series" not in (known["gate"] or {})


def test_a_version_without_a_report_is_described_all_the_same() -> None:
    version = make_version(
        report=None, window_start=None, window_end=None, seed=None, trained_at=None
    )
    known = describe(version)
    assert (known["trainedAt"], known["gate"], known["families"]) == (None, None, {})
    assert "\n".join(show(make_overview(version), version, ()))


def test_a_list_of_versions_shows_what_serves_and_what_the_gate_measured() -> None:
    new = make_version(
        2,
        state=VersionState.REJECTED,
        reason="RecallTooLow",
        report=make_report("a", gate=make_gate()),
    )
    old = make_version(1, state=VersionState.SERVING)
    lines = versions_table(make_overview(new, old, serving=1)).splitlines()
    assert lines[0].split() == [
        "VERSION", "STATE", "REASON", "TRAINED", "SERIES", "FAMILIES", "RECALL", "ALARMS"
    ]  # fmt: skip
    assert lines[1].split()[:3] == ["2", "Rejected", "RecallTooLow"]
    assert "70.0 %" in lines[1]
    assert "0.50 %" in lines[1]
    assert lines[2].split()[:3] == ["*", "1", "Serving"]
    assert "no versions yet" in versions_table(make_overview())


def test_models_are_listed_as_a_table_or_as_json() -> None:
    assert models_as("table", MODELS).splitlines()[1].split() == ["bank", "checkout", "3", "2"]
    assert json.loads(models_as("json", MODELS))[0]["servingVersion"] == 2
    assert models_as("table", ()) == "there are no models"
    assert models_as("json", ()) == "[]"


def test_a_version_is_shown_with_everything_a_person_asks_about() -> None:
    version = make_version(
        3,
        state=VersionState.SERVING,
        served_at=START + 900,
        replaced=2,
        report=make_report("a", "b", gate=make_gate(serving=2)),
    )
    chunks = (ChunkEntry(0, 0, "zscore", "watch-1", 2, 2048),)
    text = "\n".join(show(make_overview(version, serving=3), version, chunks))
    for part in (
        "3 (serves)",
        "version 2",
        "zscore 2",
        "2.0 KiB in 1 chunks",
        "shop/latency",
        "algorithm.type",
        "forecast error",
        "0.819",
        "found: spike",
        "90.0 %",
        "60.0 %",
        "2 (1.5 promised)",
    ):
        assert part in text, part


def test_a_gate_that_measured_nothing_says_why() -> None:
    version = make_version(report=make_report("a", gate={"inconclusive": "a short history"}))
    text = "\n".join(show(make_overview(version), version, ()))
    assert "could not measure: a short history" in text
    unreadable = make_version(report=make_report("a", gate={"watches": "x"}))
    assert gate_of(unreadable) is None
    assert "the gate measured nothing" in "\n".join(show(make_overview(), unreadable, ()))


def test_without_a_serving_version_there_is_nothing_beside_the_new_one() -> None:
    gate = GateMeasurement.model_validate(make_gate(serving=None))
    rows = gate_rows(gate)
    assert rows[0] == ("MEASURED", "THIS VERSION", "-")
    assert {row[2] for row in rows} == {"-"}


def test_versions_differ_in_fields_and_in_series() -> None:
    changed = json.loads(json.dumps(REQUEST))
    changed["algorithm"] = {"type": "seasonal"}
    before = make_version(1, report=make_report("a", "b"))
    after = make_version(2, request=changed, report=make_report("b", "c", gate=make_gate()))
    found = compare(before, after)
    assert found["fields"]["parameters.algorithm.type"] == {
        "before": "zscore",
        "after": "seasonal",
    }
    assert found["fields"]["gate.recall"]["after"] == 0.7
    assert found["series"] == {
        "added": ['latency: up{pod="c"}'],
        "removed": ['latency: up{pod="a"}'],
    }
    text = differences_table(before, after)
    assert "VERSION 1" in text
    assert '  + latency: up{pod="c"}' in text


def test_a_version_does_not_differ_from_itself() -> None:
    version = make_version(report=make_report("a", gate=make_gate()))
    assert compare(version, version) == {"fields": {}, "series": {"added": [], "removed": []}}
    assert differences_table(version, version) == "no field differs"


def test_very_many_new_series_are_counted_and_not_all_named() -> None:
    after = make_version(2, report=make_report(*(f"pod-{n}" for n in range(50))))
    text = differences_table(make_version(1, report=make_report()), after)
    assert "50 series added:" in text
    assert "and 30 more" in text


@pytest.mark.parametrize("serving", [None, 2])
def test_the_gate_is_drawn_as_a_picture(tmp_path: Path, serving: int | None) -> None:
    gate = GateMeasurement.model_validate(make_gate(serving=serving))
    path = tmp_path / "deep" / "gate.png"
    write_gate_plot(path, gate, title="shop/checkout version 3", why="RecallTooLow: " + "x" * 300)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 10_000


def test_a_picture_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    gate = GateMeasurement.model_validate(make_gate())
    with pytest.raises(WrongFile, match="cannot be written"):
        write_gate_plot(tmp_path / "file" / "gate.png", gate, title="", why="")


def make_watch(uid: str, name: str, namespace: str = "shop") -> WatchOverview:
    return WatchOverview(1, uid, namespace, name, 1, {}, None, ())


def make_request(*watches: tuple[str, str, str]) -> TrainingRequest:
    one = REQUEST["watches"][0]
    rows = [one | {"uid": uid, "namespace": space, "name": name} for uid, space, name in watches]
    return TrainingRequest.from_row(REQUEST | {"watches": rows})


def test_watches_are_matched_by_uid_then_by_name() -> None:
    request = make_request(("u1", "shop", "a"), ("u2", "shop", "b"), ("u3", "shop", "c"))
    present = [make_watch("u1", "renamed"), make_watch("x2", "b", "other"), make_watch("x9", "z")]
    matched = match_watches(request, present)
    assert matched.uids == {"u1": "u1", "u2": "x2"}
    assert matched.unknown == ("c",)


def test_a_watch_of_the_same_namespace_comes_before_one_of_the_same_name() -> None:
    request = make_request(("u1", "shop", "a"))
    present = [make_watch("x1", "a", "shop"), make_watch("x2", "a", "other")]
    assert match_watches(request, present).uids == {"u1": "x1"}


def test_two_watches_never_become_one() -> None:
    request = make_request(("u1", "shop", "a"), ("u2", "bank", "a"))
    matched = match_watches(request, [make_watch("x1", "a", "shop")])
    assert (matched.uids, matched.unknown) == ({"u1": "x1"}, ("a",))


def test_a_report_names_watches_as_they_are_called_here() -> None:
    report = make_report("a", gate=make_gate())
    renamed: dict[str, Any] = rename_in_report(report, {"watch-1": "here"})
    assert renamed["watches"][0]["uid"] == "here"
    assert renamed["series"][0]["watch"] == "here"
    assert renamed["gate"]["watches"][0]["uid"] == "here"
    assert report["watches"][0]["uid"] == "watch-1"
    assert rename_in_report({}, {}) == {}


@pytest.mark.parametrize("name", ["list", "show", "diff", "export", "import"])
def test_every_command_explains_itself_with_examples(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["versions", name, "--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert "metricwatch versions diff checkout 6 7" in said


def test_a_url_of_something_else_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["versions", "list", "--database-url", "mysql://x"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("metricwatch versions list: --database-url: write it like postgres")


def test_without_a_database_the_command_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("METRICWATCH_DATABASE_URL", "METRICWATCH_DATABASE_URL_FILE"):
        monkeypatch.delenv(name, raising=False)
    assert main(["versions", "list"]) == 1
    assert "no database: set METRICWATCH_DATABASE_URL_FILE" in capsys.readouterr().err


def test_a_database_that_is_away_is_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["versions", "list", "--database-url", "postgresql://me:pw@127.0.0.1:1/x"]) == 1
    said = capsys.readouterr().err
    assert "cannot reach PostgreSQL" in said
    assert "pw" not in said
