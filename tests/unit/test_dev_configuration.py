"""Configuration files of the components: the settings that cost somebody a day."""

import tomllib
from pathlib import Path

import pytest

from metricwatch_dev.cluster import configuration
from metricwatch_dev.cluster.components import Programs, components
from metricwatch_dev.cluster.layout import NODE_ADDRESS, PAUSE_IMAGE, REGISTRY, Layout

LAYOUT = Layout(Path("/c/cluster"))


def containerd() -> dict[str, object]:
    text = configuration.containerd(
        LAYOUT, runc=Path("/t/runc"), plugins=Path("/t/cni"), snapshotter="overlayfs"
    )
    plugin: dict[str, object] = tomllib.loads(text)["plugins"]["io.containerd.grpc.v1.cri"]
    return plugin


def test_sandboxes_start_without_the_capability_to_lower_their_score() -> None:
    plugin = containerd()
    assert plugin["restrict_oom_score_adj"] is True
    assert plugin["sandbox_image"] == PAUSE_IMAGE


def test_containerd_keeps_everything_in_the_clusters_directory() -> None:
    text = configuration.containerd(
        LAYOUT, runc=Path("/t/runc"), plugins=Path("/t/cni"), snapshotter="native"
    )
    parsed = tomllib.loads(text)
    places = [parsed["root"], parsed["state"], parsed["grpc"]["address"]]
    places.append(parsed["plugins"]["io.containerd.internal.v1.opt"]["path"])
    runtime = parsed["plugins"]["io.containerd.grpc.v1.cri"]["containerd"]["runtimes"]["runc"]
    places.append(runtime["options"]["Root"])
    assert all(Path(place).is_relative_to(LAYOUT.root) for place in places)


def test_only_the_registry_on_the_bridge_may_be_spoken_to_without_tls() -> None:
    hosts = tomllib.loads(configuration.registry_hosts())
    assert list(hosts["host"]) == [f"http://{REGISTRY}"]


def test_two_clusters_have_control_groups_of_their_own() -> None:
    other = Layout(Path("/d/cluster"))
    assert (
        configuration.kubelet(LAYOUT)["cgroupRoot"] != configuration.kubelet(other)["cgroupRoot"]
    )


def test_the_kubelet_asks_the_api_server_who_may_speak_to_it() -> None:
    settings = configuration.kubelet(LAYOUT)
    assert settings["authentication"]["anonymous"] == {"enabled": False}
    assert settings["authorization"] == {"mode": "Webhook"}
    assert settings["address"] == NODE_ADDRESS


def test_names_outside_are_forwarded_only_where_there_is_somebody_to_ask() -> None:
    assert "forward" in configuration.corefile(LAYOUT, forward=True)
    assert "forward" not in configuration.corefile(LAYOUT, forward=False)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("nameserver 192.0.2.1\n", True),
        ("search example.org\n# nameserver 192.0.2.1\n", False),
        ("", False),
    ],
)
def test_a_name_server_is_seen_in_the_resolver_file(
    tmp_path: Path, content: str, expected: bool
) -> None:
    (tmp_path / "resolv.conf").write_text(content)
    assert configuration.has_nameserver(tmp_path / "resolv.conf") is expected
    assert not configuration.has_nameserver(tmp_path / "missing")


def test_nothing_listens_beyond_the_bridge_and_the_machine_itself() -> None:
    programs = Programs(Path("/t"), Path("/x"))
    listens = {
        address
        for wave in components(LAYOUT, programs)
        for component in wave
        for address, _ in component.listens
    }
    assert listens == {"127.0.0.1", NODE_ADDRESS}


def test_components_inherit_nothing_but_the_search_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("SECRET_TOKEN", "x")
    environment = Programs(Path("/t"), Path("/x")).environment()
    assert set(environment) == {"PATH", "HOME", "XTABLES_LIBDIR"}
    assert environment["PATH"].startswith("/t:")
