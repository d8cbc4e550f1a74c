"""Buildah with everything of its own: storage in the cache, no configuration of the machine's."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metricwatch_dev import binaries
from metricwatch_dev.locking import file_lock
from metricwatch_dev.paths import cache_directory
from metricwatch_dev.prerequisites import MissingPrerequisiteError, require_root


@dataclass(frozen=True, slots=True)
class Buildah:
    """One image store and the program that builds into it.

    Attributes:
        program: The program.
        store: The directory of its images.
        configuration: Its configuration files.
        lock: Descriptor of the lock that keeps others out of the store.
    """

    program: Path
    store: Path
    configuration: Path
    lock: int

    @classmethod
    @contextmanager
    def of_cache(cls) -> Iterator["Buildah"]:
        """Give buildah with its store in the cache, so that layers are built once.

        Nobody else gets it meanwhile: a build stumbles over layers that another one removes.
        """
        require_root(why="to build images without docker")
        program = binaries.ensure_containers() / "buildah"
        store = cache_directory() / "images"
        lock = store.with_name("image-store.lock")
        with file_lock(lock, waiting_for="the store of images") as descriptor:
            configuration = binaries.containers_prefix() / "etc/containers"
            buildah = cls(program, store, configuration, descriptor)
            buildah.remove_containers()
            yield buildah

    def remove_containers(self) -> None:
        """Remove what builds left that were killed.

        The store counts their layers as mounted; the next build that copies from one of them would
        find it empty.
        """
        self._run("rm", "--all")

    def build(
        self,
        dockerfile: Path,
        *,
        context: Path,
        tag: str,
        arguments: Mapping[str, str] | None = None,
        volumes: Mapping[Path, str] | None = None,
    ) -> None:
        """Build an image; layers whose instructions and inputs are the same are taken as they are.

        Raises:
            MissingPrerequisiteError: The build fails.
        """
        options = ["--layers", "--network", "host", "--isolation", "chroot"]
        # A failed build leaves no half-made container behind.
        options += ["--pull-never", "--force-rm"]
        for source, target in (volumes or {}).items():
            options += ["--volume", f"{source}:{target}"]
        for name, value in (arguments or {}).items():
            options += ["--build-arg", f"{name}={value}"]
        options += ["--signature-policy", str(self.configuration / "policy.json")]
        self._run("bud", *options, "-t", tag, "-f", str(dockerfile), str(context))

    def push(self, reference: str) -> None:
        """Push an image to the plain-HTTP registry in its name; only new layers are sent.

        Raises:
            MissingPrerequisiteError: The push fails.
        """
        policy = str(self.configuration / "policy.json")
        # zstd: torch's layer is gigabytes, and gzip would take minutes for it.
        options = ["--format", "oci", "--compression-format", "zstd", "--compression-level", "1"]
        self._run("push", *options, "--tls-verify=false", "--signature-policy", policy, reference)

    def exists(self, reference: str) -> bool:
        """Return whether the store holds this image."""
        done = self.call("inspect", "--type", "image", reference)
        return done.returncode == 0

    def remove_other_tags(self, references: list[str]) -> None:
        """Remove older images of the same names, and the layers nothing else is made of.

        Nothing may be built meanwhile: listing images stumbles over one that is just removed.
        """
        repositories = {reference.rpartition(":")[0] for reference in references}
        listed: list[dict[str, Any]] = json.loads(self._run("images", "--json"))
        for image in listed:
            for name in image.get("names") or []:
                if name.rpartition(":")[0] in repositories and name not in references:
                    self._run("rmi", name)

    def _run(self, *arguments: str) -> str:
        done = self.call(*arguments)
        if done.returncode != 0:
            lines = (done.stderr.strip() or done.stdout.strip()).splitlines()[-15:]
            raise MissingPrerequisiteError(
                f"buildah {arguments[0]} of {arguments[-1]} failed:\n    " + "\n    ".join(lines)
            )
        return done.stdout

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run buildah on this store."""
        store = ["--root", str(self.store / "root"), "--runroot", str(self.store / "run")]
        registries = ["--registries-conf", str(self.configuration / "registries.conf")]
        return subprocess.run(
            [str(self.program), *store, *registries, *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"BUILDAH_ISOLATION": "chroot"},
            # When this process is killed, what it started goes on, and keeps others out still.
            pass_fds=(self.lock,),
        )
