"""The Tiltfile, evaluated by Tilt's interpreter with Tilt's functions recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tests.gitops_programs import evaluate_tiltfile

from metricwatch_dev.paths import REPOSITORY

# The parameters of what the file may call, in their order, by Tilt's API reference.
SIGNATURES = {
    "allow_k8s_contexts": ("contexts",),
    "config.define_string": ("name", "args", "usage"),
    "config.define_string_list": ("name", "args", "usage"),
    "config.parse": (),
    "custom_build": (
        *("ref", "command", "deps", "tag", "disable_push", "skips_local_docker", "live_update"),
        *("match_in_env_vars", "ignore", "entrypoint", "command_bat_val"),
        *("outputs_image_ref_to", "command_bat", "image_deps", "env", "dir"),
    ),
    "decode_yaml_stream": ("yaml",),
    "default_registry": ("host", "host_from_cluster", "single_name"),
    "docker_build": ("ref", "context", "build_args", "dockerfile", "only", "ignore"),
    "encode_yaml_stream": ("objs",),
    "fall_back_on": ("files",),
    "helm": ("pathToChartDir", "name", "namespace", "values", "set", "kube_version", "skip_crds"),
    "k8s_custom_deploy": (
        *("name", "apply_cmd", "delete_cmd", "deps", "image_selector", "live_update"),
        *("apply_dir", "apply_env", "apply_cmd_bat", "delete_dir", "delete_env"),
        *("delete_cmd_bat", "container_selector", "image_deps"),
    ),
    "k8s_resource": (
        *("workload", "new_name", "port_forwards", "extra_pod_selectors", "trigger_mode"),
        *("resource_deps", "objects", "auto_init", "pod_readiness", "links", "labels"),
        "discovery_strategy",
    ),
    "k8s_yaml": ("yaml", "allow_duplicates"),
    "listdir": ("directory", "recursive"),
    "local": ("command", "quiet", "command_bat", "echo_off", "env", "dir", "stdin"),
    "local_resource": (
        *("name", "cmd", "deps", "trigger_mode", "resource_deps", "ignore", "auto_init"),
        *("serve_cmd", "cmd_bat", "serve_cmd_bat", "allow_parallel", "links", "labels"),
    ),
    "port_forward": ("local_port", "container_port", "name", "link_path", "host"),
    "read_file": ("file_path", "default"),
    "run": ("cmd", "trigger", "echo_off"),
    "sync": ("local_path", "remote_path"),
    "watch_settings": ("ignore",),
}


@dataclass(frozen=True, slots=True)
class Call:
    """One call of one of Tilt's functions, its arguments by the names of their parameters."""

    function: str
    given: Mapping[str, Any]


def evaluate(builder: str, /, **settings: Any) -> list[Call]:
    """Every call that the Tiltfile makes on a machine with this builder."""
    streams: dict[str, list[Any]] = {}
    answers = _answers(builder, settings, streams)
    # What the first run asks to decode is answered in the second.
    for call in _calls(answers):
        if call.function == "decode_yaml_stream":
            text = str(call.given["yaml"])
            streams[text] = [one for one in yaml.safe_load_all(text) if one]
    return list(_calls(_answers(builder, settings, streams)))


def bind(value: Any) -> Any:
    """The same with every recorded call inside it as a `Call`."""
    if isinstance(value, list):
        return [bind(one) for one in value]
    if not isinstance(value, dict):
        return value
    if value.keys() != {"function", "arguments", "named"}:
        return {name: bind(one) for name, one in value.items()}
    names = SIGNATURES[value["function"]]
    assert len(value["arguments"]) <= len(names), value
    unknown = set(value["named"]) - set(names)
    assert not unknown, f"{value['function']} has no parameter {', '.join(sorted(unknown))}"
    positional = dict(zip(names, value["arguments"], strict=False))
    return Call(value["function"], bind(positional | value["named"]))


def _calls(answers: Mapping[str, Any]) -> Iterator[Call]:
    for one in evaluate_tiltfile(REPOSITORY / "Tiltfile", answers):
        yield bind(one)


def _answers(
    builder: str, settings: Mapping[str, Any], streams: Mapping[str, list[Any]]
) -> dict[str, Any]:
    functions: dict[str, Any] = {name: {} for name in SIGNATURES}
    folders = [path for path in (REPOSITORY / "dev").rglob("*") if path.is_dir()]
    files = [path for path in (REPOSITORY / "dev").rglob("*") if _is_text(path)]
    functions["config.parse"] = {"gives": dict(settings)}
    functions["local"] = {"gives": f"{builder}\n"}
    functions["decode_yaml_stream"] = {"by": streams} if streams else {"gives": []}
    functions["listdir"] = {
        "by": {
            str(one.relative_to(REPOSITORY)): [str(path) for path in sorted(one.iterdir())]
            for one in folders
        }
    }
    functions["read_file"] = {
        "by": {
            name: path.read_text(encoding="utf-8")
            for path in files
            for name in (str(path), str(path.relative_to(REPOSITORY)))
        }
    }
    return {"constants": {"TRIGGER_MODE_MANUAL": "manual"}, "functions": functions}


def _is_text(path: Path) -> bool:
    return path.suffix in {".py", ".yaml", ".txt", ".Dockerfile"}
