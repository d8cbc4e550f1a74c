"""Programs built from pinned modules and unpacked from packages."""

import re
from pathlib import Path

import pytest

from metricwatch_dev import binaries, debian, golang
from metricwatch_dev.debian import PackageGroup
from metricwatch_dev.golang import CLUSTER, GITOPS, HELM, KUBERNETES, GoProject
from metricwatch_dev.prerequisites import MissingPrerequisiteError, require_root

SIMULATION = """\
Reading package lists...
Inst login [1:4.13+dfsg1-1+deb12u1] (1:4.13+dfsg1-1+deb12u2 Debian:12.15/oldstable [amd64])
Inst libgpgme11 (1.18.0-3+b1 Debian:12.15/oldstable [amd64])
Inst buildah (1.28.2+ds1-3 Debian:12.15/oldstable [amd64])
Conf libgpgme11 (1.18.0-3+b1 Debian:12.15/oldstable [amd64])
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "programs"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    return directory


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def one_line(caught: pytest.ExceptionInfo[MissingPrerequisiteError]) -> str:
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_packages_the_machine_lacks_are_taken_and_upgrades_are_not() -> None:
    assert debian.parse_new_packages(SIMULATION) == ("libgpgme11", "buildah")


def test_other_packages_get_another_directory() -> None:
    group = PackageGroup("g", ("a", "b"))
    assert group.key == PackageGroup("g", ("a", "b")).key
    assert group.key != PackageGroup("g", ("a",)).key
    assert group.key != PackageGroup("g", ("a", "b"), with_libraries=True).key


def test_without_apt_one_line_names_the_other_ways(programs: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingPrerequisiteError) as caught:
        debian.ensure(PackageGroup("g", ("etcd-server",)), packages_directory=tmp_path)
    assert programs.is_dir()
    text = one_line(caught)
    assert "apt-get is needed" in text
    assert "KUBECONFIG" in text


def test_a_package_that_cannot_be_had_leaves_nothing_that_looks_complete(
    programs: Path, tmp_path: Path
) -> None:
    script(programs / "apt-get", "exit 100")
    group = PackageGroup("g", ("etcd-server",))
    with pytest.raises(MissingPrerequisiteError) as caught:
        debian.ensure(group, packages_directory=tmp_path)
    assert "etcd-server" in one_line(caught)
    assert not (tmp_path / group.key / ".complete").exists()


def test_a_program_is_found_in_any_of_the_usual_directories(tmp_path: Path) -> None:
    script(tmp_path / "usr" / "lib" / "postgresql" / "15" / "bin" / "initdb", "")
    assert debian.program(tmp_path, "initdb").name == "initdb"
    with pytest.raises(MissingPrerequisiteError, match="have no etcd"):
        debian.program(tmp_path, "etcd")


def test_without_go_one_line_names_the_other_ways(programs: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingPrerequisiteError) as caught:
        golang.build(HELM, cache=tmp_path)
    assert programs.is_dir()
    assert "install Go" in one_line(caught)


def test_a_go_that_is_too_old_is_named(programs: Path) -> None:
    script(programs / "go", "echo go1.19.8")
    with pytest.raises(MissingPrerequisiteError, match=r"go1\.19\.8"):
        golang.require_go()


def test_a_failed_build_leaves_no_program(programs: Path, tmp_path: Path) -> None:
    script(
        programs / "go", 'if [ "$1" = env ]; then echo go1.26.0; else echo no disk >&2; exit 1; fi'
    )
    with pytest.raises(MissingPrerequisiteError, match="no disk") as caught:
        golang.build(HELM, cache=tmp_path)
    one_line(caught)
    assert golang.missing_commands(HELM, cache=tmp_path) == HELM.commands


def test_only_what_is_missing_is_built_and_in_order(programs: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    script(
        programs / "go",
        f"""if [ "$1" = env ]; then echo go1.26.0; exit; fi
        while [ $# -gt 1 ]; do if [ "$1" = -o ]; then : > "$2"; fi; shift; done
        echo "$1" >> {log}""",
    )
    kept = golang.command_path(KUBERNETES, "kubectl", cache=tmp_path)
    kept.parent.mkdir(parents=True)
    kept.touch()
    golang.build(KUBERNETES, cache=tmp_path)
    built = [line.rpartition("/")[2] for line in log.read_text().splitlines()]
    assert built[0] == "kube-apiserver"
    assert "kubectl" not in built
    assert golang.missing_commands(KUBERNETES, cache=tmp_path) == ()


def test_a_program_of_ours_has_another_version_when_a_file_of_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "gitops" / "kstatus" / "main.go"
    source.parent.mkdir(parents=True)
    source.write_text("package main")
    monkeypatch.setattr(golang, "MODULES", tmp_path)
    before = golang.own_version("gitops")
    assert golang.own_version("gitops") == before
    source.write_text("package main\n")
    assert golang.own_version("gitops") != before


def test_every_program_of_ours_has_its_directory_and_checksums() -> None:
    module = golang.MODULES / GITOPS.name
    written = sorted(path.parent.name for path in module.glob("*/main.go"))
    assert written == [command.rpartition("/")[2] for command in GITOPS.commands]
    assert (module / "go.sum").stat().st_size > 0


@pytest.mark.parametrize("project", CLUSTER, ids=lambda project: project.name)
def test_the_pinned_module_has_the_version_we_name(project: GoProject) -> None:
    module = (golang.MODULES / project.name / "go.mod").read_text()
    pinned = re.findall(rf"^(?:require )?\t?(\S+) {re.escape(project.version)}$", module, re.M)
    assert any(command.startswith(pinned[0]) for command in project.commands)
    assert (golang.MODULES / project.name / "go.sum").stat().st_size > 0


def test_a_new_version_takes_the_place_of_the_old_link(tmp_path: Path) -> None:
    for version in ("1", "2"):
        script(tmp_path / version / "etcd", f"echo {version}")
        binaries._link({"etcd": tmp_path / version / "etcd"}, tmp_path / "tools")
    links = list((tmp_path / "tools").iterdir())
    assert [link.resolve() for link in links] == [tmp_path / "2" / "etcd"]


def test_somebody_who_is_not_root_reads_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(MissingPrerequisiteError, match="sudo -E") as caught:
        require_root(why="to run the kubelet")
    one_line(caught)
