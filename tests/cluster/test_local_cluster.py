"""The cluster of real parts: it comes up, mends itself, runs pods, and goes without a trace.

It runs in a network namespace of its own, with files of its own, beside whatever cluster there is.
"""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from metricwatch_dev.buildah import Buildah
from metricwatch_dev.cluster import cgroups, teardown
from metricwatch_dev.cluster.layout import PAUSE_IMAGE, Layout
from metricwatch_dev.cluster.local import local_programs
from metricwatch_dev.cluster.network import KERNEL_SETTINGS
from metricwatch_dev.paths import cache_directory

NAMESPACE = "metricwatch-test"
# Where the kubelet and containerd write whatever they are told. Another cluster may use them too.
SHARED_DIRECTORIES = (
    "/run/containerd",
    "/var/lib/cni",
    "/var/lib/kubelet",
    "/var/log/containers",
    "/var/log/pods",
)
RESTRICTED: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}


@dataclass(frozen=True, slots=True)
class Machine:
    """The network namespace and directory that one local cluster lives in."""

    root: Path

    def run(
        self,
        *arguments: str,
        stdin: str | None = None,
        check: bool = True,
        kubeconfig: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command inside."""
        environment = {k: v for k, v in os.environ.items() if k != "KUBECONFIG"}
        environment["METRICWATCH_CLUSTER_DIR"] = str(self.root)
        environment |= local_programs().environment()
        if kubeconfig is not None:
            environment["KUBECONFIG"] = str(kubeconfig)
        done = subprocess.run(
            ["nsenter", f"--net=/run/netns/{NAMESPACE}", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
        assert done.returncode == 0 or not check, f"{arguments}: {done.stderr}"
        return done

    def cluster(self, action: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs `python -m metricwatch_dev cluster <action>`."""
        return self.run(sys.executable, "-m", "metricwatch_dev", "cluster", action, check=check)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Runs kubectl as the administrator."""
        kubeconfig = str(self.root / "kubeconfig")
        return self.run("kubectl", "--kubeconfig", kubeconfig, *arguments, stdin=stdin).stdout

    def processes(self) -> dict[str, int]:
        """Returns the recorded process of each component."""
        files = (self.root / "processes").glob("*.json")
        return {file.stem: json.loads(file.read_text())["pid"] for file in files}

    def traces(self) -> dict[str, set[str]]:
        """Returns everything a cluster might leave behind."""
        mounts = Path("/proc/mounts").read_text()
        rules = self.run("iptables-save").stdout + self.run("ip6tables-save").stdout
        settings = self.run("grep", "-H", "", *(f"/proc/sys/{name}" for name in KERNEL_SETTINGS))
        return {
            "mounts": {line for line in mounts.splitlines() if str(self.root) in line},
            "links": set(self.run("ip", "-brief", "link").stdout.split("\n")),
            "routes": set(self.run("ip", "route").stdout.split("\n")),
            "chains": {line.split()[0] for line in rules.splitlines() if line.startswith(":")},
            "rules": {line for line in rules.splitlines() if line.startswith("-A")},
            "settings": set(settings.stdout.splitlines()),
            "groups": {str(path) for path in Path("/sys/fs/cgroup").glob("*/metricwatch*")},
            "files": _files_of(self.root),
            "processes": _processes_below(self.root),
        }


def _files_of(root: Path) -> set[str]:
    found = set()
    for path in (path for name in SHARED_DIRECTORIES for path in Path(name).rglob("*")):
        if path.is_symlink():
            ours = os.readlink(path).startswith(str(root))
        elif path.is_socket():
            with socket.socket(socket.AF_UNIX) as connection:
                ours = connection.connect_ex(str(path)) == errno.ECONNREFUSED
        else:
            ours = path.is_file() and os.fsencode(root) in path.read_bytes()
        if ours:
            found.add(str(path))
    return found


def _processes_below(root: Path) -> set[str]:
    found = set()
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            command = (directory / "cmdline").read_bytes()
        except OSError:
            continue
        if os.fsencode(root) in command:
            found.add(command.replace(b"\0", b" ").decode())
    return found


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    subprocess.run(["ip", "netns", "add", NAMESPACE], check=True)
    made = Machine(tmp_path_factory.mktemp("local") / "cluster")
    try:
        made.run("ip", "link", "set", "lo", "up")
        yield made
        made.cluster("down", check=False)
    finally:
        subprocess.run(["ip", "netns", "delete", NAMESPACE], check=True)


@pytest.fixture(scope="module")
def before(machine: Machine) -> dict[str, set[str]]:
    return machine.traces()


@pytest.fixture(scope="module")
def running(machine: Machine, before: dict[str, set[str]]) -> Machine:
    assert before["processes"] == set()
    printed = machine.cluster("up").stdout
    assert printed.strip() == str(machine.root / "kubeconfig")
    return machine


def test_every_component_answers_and_the_node_is_ready(running: Machine) -> None:
    status = running.cluster("status")
    assert "not running" not in status.stderr
    assert status.stderr.count(" answers") == len(running.processes())
    nodes = json.loads(running.kubectl("get", "nodes", "-o", "json"))["items"]
    ready = [c["status"] for c in nodes[0]["status"]["conditions"] if c["type"] == "Ready"]
    assert (len(nodes), ready) == (1, ["True"])


def test_a_second_start_changes_nothing(running: Machine) -> None:
    pids = running.processes()
    running.cluster("up")
    assert running.processes() == pids


def test_a_component_that_died_is_started_again_and_the_others_are_kept(running: Machine) -> None:
    pids = running.processes()
    os.kill(pids["coredns"], signal.SIGKILL)
    assert running.cluster("status", check=False).returncode == 3
    running.cluster("up")
    after = running.processes()
    assert {name for name in pids if pids[name] != after[name]} == {"coredns"}
    assert running.cluster("status").returncode == 0


def pod(*command: str, **more: Any) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": PAUSE_IMAGE,
        "command": ["/bin/busybox", *command],
        "securityContext": RESTRICTED,
        "resources": {"limits": {"memory": "32Mi", "cpu": "500m"}},
    }
    return {
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container | more.pop("container", {})],
        **more,
    }


def manifests() -> dict[str, Any]:
    fetch = "busybox nslookup web.shop.svc.cluster.local && i=0 && while [ $i -lt 8 ]; do"
    # Not wget: a static busybox looks up the port of http, and glibc does not survive that.
    fetch += r" printf 'GET /hosts HTTP/1.0\r\n\r\n' | busybox nc -w 5 $WEB_SERVICE_HOST 80"
    fetch += " | busybox grep localhost || exit 1; i=$((i+1)); done"
    fetch += " && echo kept > /data/file && echo done > /dev/termination-log"
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    meta = {"namespace": "shop"}
    labels = {"app": "web"}
    server = pod("httpd", "-f", "-p", "8080", "-h", "/etc")
    client = pod(
        "sh",
        "-c",
        fetch,
        restartPolicy="Never",
        volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        container={"volumeMounts": [{"name": "data", "mountPath": "/data"}]},
    )
    items = [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": "shop", "labels": restricted},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web", **meta},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": server},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", **meta},
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]},
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data", **meta},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
            },
        },
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "client", **meta},
            "spec": {"backoffLimit": 5, "template": {"spec": client}},
        },
    ]
    return {"apiVersion": "v1", "kind": "List", "items": items}


def test_restricted_pods_find_each_other_by_name_keep_files_and_are_read(running: Machine) -> None:
    running.kubectl("apply", "-f", "-", stdin=json.dumps(manifests()))
    running.kubectl("-n", "shop", "rollout", "status", "deployment/web", "--timeout=120s")
    running.kubectl(
        "-n", "shop", "wait", "--for=condition=Complete", "job/client", "--timeout=120s"
    )
    pods = json.loads(running.kubectl("-n", "shop", "get", "pods", "-o", "json"))["items"]
    messages = [
        status["state"]["terminated"].get("message")
        for item in pods
        for status in item["status"]["containerStatuses"]
        if "terminated" in status["state"] and status["state"]["terminated"]["exitCode"] == 0
    ]
    assert messages == ["done\n"]
    log = running.kubectl("-n", "shop", "logs", "job/client")
    assert "web.shop.svc.cluster.local" in log
    assert "localhost" in log
    inside = running.kubectl("-n", "shop", "exec", "deployment/web", "--", "/bin/busybox", "id")
    assert inside.startswith("uid=65532")
    kept = list((running.root / "volumes").glob("*/file"))
    assert [file.read_text() for file in kept] == ["kept\n"]


def test_a_pod_that_asks_for_more_than_restricted_allows_is_refused(running: Machine) -> None:
    running.kubectl("create", "namespace", "strict")
    label = "pod-security.kubernetes.io/enforce=restricted"
    running.kubectl("label", "namespace", "strict", label)
    spec = pod("sleep", "1", hostNetwork=True)
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "greedy"}, "spec": spec}
    refused = running.run(
        "kubectl",
        f"--kubeconfig={running.root}/kubeconfig",
        *("-n", "strict", "apply", "-f", "-"),
        stdin=json.dumps(manifest),
        check=False,
    )
    assert refused.returncode == 1
    assert "violates PodSecurity" in refused.stderr


def test_after_a_power_cut_everything_runs_again(running: Machine) -> None:
    layout = Layout(running.root)
    for pid in (*running.processes().values(), *teardown.shims(layout.containerd_socket)):
        os.kill(pid, signal.SIGKILL)
    cgroups.stop_processes(layout.cgroup)
    running.run("ip", "link", "delete", "mw0")
    running.cluster("up")
    assert running.cluster("status").returncode == 0
    client = ("-n", "shop", "exec", "deployment/web", "--", "/bin/busybox")
    deadline = time.monotonic() + 120
    lookup = ("nslookup", "web.shop.svc.cluster.local")
    kubectl = ("kubectl", f"--kubeconfig={running.root}/kubeconfig")
    while running.run(*kubectl, *client, *lookup, check=False).returncode != 0:
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_a_cluster_of_the_users_is_used_and_left_alone(running: Machine, tmp_path: Path) -> None:
    mine = tmp_path / "config"
    mine.write_bytes((running.root / "kubeconfig").read_bytes())
    command = (sys.executable, "-m", "metricwatch_dev")
    used = running.run(*command, "cluster", "up", kubeconfig=mine)
    assert "using your own cluster: context metricwatch" in used.stderr
    written = Path(used.stdout.strip())
    assert written not in {mine, running.root / "kubeconfig"}
    assert written.stat().st_mode & 0o777 == 0o600
    refused = running.run(*command, "images", "operator", kubeconfig=mine, check=False)
    assert refused.returncode == 1
    assert "METRICWATCH_REGISTRY" in refused.stderr.splitlines()[-1]


def test_a_cluster_of_the_users_that_is_away_is_one_line(running: Machine, tmp_path: Path) -> None:
    settings = json.loads((running.root / "kubeconfig").read_text())
    settings["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    (tmp_path / "config").write_text(json.dumps(settings))
    command = (sys.executable, "-m", "metricwatch_dev", "cluster", "up")
    failed = running.run(*command, kubeconfig=tmp_path / "config", check=False)
    assert failed.returncode == 1
    (line,) = failed.stderr.splitlines()
    assert line.startswith("error: your cluster cannot be used")
    assert "KUBECONFIG" in line


def test_down_leaves_nothing_behind(running: Machine, before: dict[str, set[str]]) -> None:
    running.cluster("down")
    assert not running.root.exists()
    deadline = time.monotonic() + 30
    while True:
        after = running.traces()
        # The packet filter makes its own empty chains when it is first used.
        after["chains"] = {name for name in after["chains"] if "KUBE-" in name or "CNI-" in name}
        left = {kind: found - before[kind] for kind, found in after.items()}
        left = {kind: found for kind, found in left.items() if found}
        if not left or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    assert left == {}


def test_down_without_a_cluster_says_so(running: Machine) -> None:
    assert "no cluster of ours" in running.cluster("down").stderr
    assert cache_directory().is_dir()


def test_a_port_that_is_taken_is_one_line_with_another_way(running: Machine) -> None:
    listener = "import socket,time; s=socket.create_server(('127.0.0.1', 12379))"
    command = ["nsenter", f"--net=/run/netns/{NAMESPACE}", sys.executable, "-c"]
    holder = subprocess.Popen(
        [*command, f"{listener}; print('up', flush=True); time.sleep(600)"], stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"up\n"
        failed = running.cluster("up", check=False)
    finally:
        holder.kill()
        holder.communicate()
    assert failed.returncode == 1
    (error,) = (line for line in failed.stderr.splitlines() if line.startswith("error:"))
    assert "port 12379" in error
    assert "kind" in error


def test_what_a_killed_build_left_in_the_store_is_gone_before_the_next_one() -> None:
    listing = ("containers", "--all", "--quiet")
    with Buildah.of_cache() as buildah:
        assert buildah.call("from", "scratch").returncode == 0
        assert buildah.call(*listing).stdout
    with Buildah.of_cache() as buildah:
        assert buildah.call(*listing).stdout.strip() == ""
