"""A list of hosts bounds where requests go, however a URL is written."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.unit.operator_builders import CONFIG

from metricwatch.sources import SourceConfig, open_source
from metricwatch.sources.allowed import VARIABLE, allowed_hosts, is_allowed
from metricwatch.sources.errors import SourceNotAllowed
from metricwatch_operator.planning.config import Config
from metricwatch_operator.planning.pods import ContainerWants, build_pod_spec

HOSTS = ("vm.example", "*.monitoring.svc", "10.0.0.7")


@pytest.mark.parametrize(
    "url",
    [
        "http://vm.example:8428",
        "https://VM.Example./prefix",
        "http://a.monitoring.svc:9090",
        "http://a.b.monitoring.svc",
        "http://10.0.0.7:9090",
    ],
)
def test_a_host_of_the_list_is_read(url: str) -> None:
    assert is_allowed(url, HOSTS)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest",
        "http://localhost:5432",
        "http://[::1]:9090",
        "http://monitoring.svc",
        "http://.monitoring.svc",
        "http://evilmonitoring.svc",
        "http://vm.example.evil",
        "http://evil/vm.example",
        "http://evil\\.monitoring.svc.evil",
        "http://vm.example@evil:80",
        "http://evil?.monitoring.svc",
        "http://evil#.monitoring.svc",
        "http://0x0a000007",
        "http://[",
        "",
    ],
)
def test_no_other_host_is(url: str) -> None:
    assert not is_allowed(url, HOSTS)


def test_without_a_list_every_host_is_read() -> None:
    assert is_allowed("http://anything", ())
    assert allowed_hosts({VARIABLE: " , "}) == ()
    assert allowed_hosts({VARIABLE: "a, *.b"}) == ("a", "*.b")


@given(st.text("evil.monitoring.svc/\\@:#?%[]0", min_size=1, max_size=40))
def test_who_connects_goes_to_the_host_that_was_checked(rest: str) -> None:
    url = f"http://{rest}"
    try:
        config = SourceConfig(url=url)
    except ValidationError:
        return
    if not is_allowed(config.url, HOSTS):
        return
    try:
        host = httpx.URL(config.url).host
    except httpx.InvalidURL:
        return
    assert host.rstrip(".").endswith(".monitoring.svc"), url


def test_whoever_opens_a_source_checks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    config = SourceConfig(url="http://169.254.169.254")
    open_source(config)
    monkeypatch.setenv(VARIABLE, ",".join(HOSTS))
    with pytest.raises(SourceNotAllowed, match=r"169\.254\.169\.254 is not among .*\(vm\.example"):
        open_source(config)
    open_source(SourceConfig.model_validate({"type": "simulation"}))


def test_pods_are_told_the_list_and_without_one_nothing() -> None:
    def variables(config: Config) -> dict[str, str]:
        wants = ContainerWants("trainer", "trainer:1", env={}, resources={}, extra={})
        spec = build_pod_spec("checkout", wants, source_secrets=(), config=config)
        (container,) = spec["containers"]
        return {one["name"]: one["value"] for one in container["env"]}

    assert VARIABLE not in variables(CONFIG)
    limited = Config("trainer:1", "detector:1", allowed_source_hosts=HOSTS)
    assert variables(limited)[VARIABLE] == "vm.example,*.monitoring.svc,10.0.0.7"
