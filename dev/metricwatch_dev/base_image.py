"""The base image, made from Debian packages where no registry of images can be reached.

The shipped Dockerfiles take it through `BASE_IMAGE`, so that what users build is what is tested.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from metricwatch_dev import binaries
from metricwatch_dev.buildah import Buildah
from metricwatch_dev.paths import cache_directory
from metricwatch_dev.prerequisites import ALTERNATIVES, MissingPrerequisiteError
from metricwatch_dev.progress import step

SUITE = "bookworm"
PACKAGES = ("python3", "python3-venv", "ca-certificates")
DOCKERFILE = """\
FROM scratch
ADD base.tar /
CMD ["/bin/sh"]
"""
# What a container never reads: a fifth of the size.
LEFT_OUT = (
    "./var/cache/apt",
    "./var/lib/apt/lists",
    "./var/log",
    "./usr/share/doc",
    "./usr/share/man",
    "./usr/share/locale",
    "./usr/share/info",
    "./dev",
)


def reference() -> str:
    """Return the name of the base image: the same contents give the same name."""
    content = "\n".join((SUITE, *PACKAGES, *LEFT_OUT, DOCKERFILE))
    return f"localhost/metricwatch-base:{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def ensure(buildah: Buildah) -> str:
    """Return the name of the base image, making it when it is not in the store.

    Raises:
        MissingPrerequisiteError: Debian packages cannot be had.
    """
    name = reference()
    if not buildah.exists(name):
        with step(f"base image from Debian {SUITE} packages"):
            _make(buildah, name)
    return name


def _make(buildah: Buildah, name: str) -> None:
    directory = Path(tempfile.mkdtemp(dir=cache_directory(), prefix="base-image-"))
    try:
        tree = directory / "tree"
        _debootstrap(tree)
        excluded = [f"--exclude={path}/*" for path in LEFT_OUT]
        archive = str(directory / "base.tar")
        subprocess.run(["tar", "-C", str(tree), *excluded, "-cf", archive, "."], check=True)
        (directory / ".dockerignore").write_text("tree\n")
        (directory / "Dockerfile").write_text(DOCKERFILE)
        buildah.build(directory / "Dockerfile", context=directory, tag=name)
    finally:
        shutil.rmtree(directory)


def parse_mirror(targets: str, *, suite: str) -> str | None:
    r"""Return the first repository that has a suite, from `apt-get indextargets` lines.

    >>> parse_mirror("http://a/security/ bookworm-security\nhttp://a/ bookworm", suite="bookworm")
    'http://a/'
    """
    for line in targets.splitlines():
        address, _, release = line.partition(" ")
        if release == suite:
            return address
    return None


def _machine_mirror() -> str:
    wanted = ("--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages")
    done = subprocess.run(
        ["apt-get", "indextargets", *wanted], capture_output=True, text=True, check=False
    )
    mirror = parse_mirror(done.stdout, suite=SUITE)
    if mirror is None:
        raise MissingPrerequisiteError(
            f"apt on this machine knows no repository of Debian {SUITE}: name one in "
            f"METRICWATCH_DEBIAN_MIRROR. {ALTERNATIVES}"
        )
    return mirror


def _debootstrap(tree: Path) -> None:
    prefix = binaries.containers_prefix()
    mirror = os.environ.get("METRICWATCH_DEBIAN_MIRROR") or _machine_mirror()
    search_path = f"{os.environ.get('PATH', os.defpath)}:{prefix}/usr/bin"
    done = subprocess.run(
        [
            str(prefix / "usr/sbin/debootstrap"),
            "--variant=minbase",
            f"--include={','.join(PACKAGES)}",
            SUITE,
            str(tree),
            mirror,
        ],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ
        | {"DEBOOTSTRAP_DIR": str(prefix / "usr/share/debootstrap"), "PATH": search_path},
    )
    if done.returncode != 0:
        last = (done.stdout.strip().splitlines() or ["no output"])[-1]
        raise MissingPrerequisiteError(
            f"debootstrap from {mirror} failed ({last}): check the network, or name a mirror in "
            f"METRICWATCH_DEBIAN_MIRROR. {ALTERNATIVES}"
        )
