"""Whatever a manifest holds, parsing gives a resource or says what is wrong."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from metricwatch.resources import InvalidResource, Source, parse_model, parse_watch
from metricwatch.resources.formats import CRON_PATTERN

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.datetimes()
)
NAMES = st.sampled_from(
    ["metadata", "name", "spec", "status", "training", "source", "headers", "query", "queries",
     "detection", "severity", "conditions", "window", "exclude", "from", "to", "expr", "x"]
)  # fmt: skip
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(st.dictionaries(NAMES, JSON, max_size=4))
def test_nothing_but_invalid_resource_is_raised(manifest: dict[str, Any]) -> None:
    for parse in (parse_model, parse_watch):
        with suppress(InvalidResource):
            parse(manifest)


@given(JSON)
def test_a_spec_of_anything_is_refused_with_a_problem_or_read(spec: Any) -> None:
    problems: list[tuple[str, str]] = []
    try:
        resource = parse_model({"metadata": {"name": "a"}, "spec": spec})
    except InvalidResource as error:
        problems = error.problems
    if problems:
        assert all(path.startswith("spec") or not path for path, _ in problems)
    else:
        assert parse_model(resource.to_manifest()) == resource


@settings(deadline=None)
@given(st.from_regex(CRON_PATTERN, fullmatch=True, alphabet="0123456789*/,- "))
def test_every_schedule_that_is_accepted_has_a_next_time(schedule: str) -> None:
    spec = {"training": {"schedule": schedule}}
    with suppress(InvalidResource):
        schedule = parse_model({"metadata": {"name": "a"}, "spec": spec}).spec.training.schedule
        now = datetime(2026, 11, 3, tzinfo=UTC)
        assert croniter(schedule, now).get_next(datetime) > now


SOURCES = st.builds(
    Source,
    url=st.sampled_from([None, "http://a", "http://b"]),
    tenant=st.sampled_from([None, "", "1", "2"]),
    headers=st.sampled_from([None, {}, {"X-A": "1"}]),
)


@given(SOURCES, SOURCES, SOURCES)
def test_overriding_is_associative_so_its_order_does_not_matter(
    watch: Source, model: Source, cluster: Source
) -> None:
    assert watch.over(model).over(cluster) == watch.over(model.over(cluster))
