"""Programs from Debian packages, unpacked into the cache: nothing is installed on this machine.

A group of packages becomes one directory, keyed by the list of packages. Libraries the machine
lacks come along, and programs that need them get an absolute RPATH: LD_LIBRARY_PATH would not do,
because buildah starts itself again with an empty environment.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from metricwatch_dev.prerequisites import (
    ALTERNATIVES,
    MissingPrerequisiteError,
    require_program,
)
from metricwatch_dev.progress import step

PROGRAM_DIRECTORIES = (
    "usr/bin",
    "usr/sbin",
    "bin",
    "sbin",
    "usr/lib/postgresql/*/bin",
    # A library that is loaded before a program, to tell it another time.
    "usr/lib/*/faketime",
)


@dataclass(frozen=True, slots=True)
class PackageGroup:
    """Packages unpacked together."""

    name: str
    packages: tuple[str, ...]
    # Daemons written in Go stand alone; the others bring the libraries this machine lacks.
    with_libraries: bool = False

    @property
    def key(self) -> str:
        """Return the directory name: the same packages give the same directory."""
        content = "\n".join((*self.packages, str(self.with_libraries)))
        return f"{self.name}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def ensure(group: PackageGroup, *, packages_directory: Path) -> Path:
    """Return the directory the group is unpacked in, downloading it when it is not there yet.

    Raises:
        MissingPrerequisiteError: This is not Debian, or a package cannot be had.
    """
    prefix = packages_directory / group.key
    if is_complete(group, packages_directory=packages_directory):
        return prefix
    require_program("apt-get", why="for the Debian parts", install="use Debian 12 or newer")
    shutil.rmtree(prefix, ignore_errors=True)
    with step(f"Debian packages: {', '.join(group.packages)}"):
        prefix.mkdir(parents=True)
        with tempfile.TemporaryDirectory(prefix="metricwatch-debs-") as downloads:
            archives = _download(group, Path(downloads))
            for archive in archives:
                subprocess.run(["dpkg-deb", "-x", str(archive), str(prefix)], check=True)
        if group.with_libraries:
            _point_programs_at_libraries(prefix)
    (prefix / ".complete").write_text("".join(f"{archive.name}\n" for archive in archives))
    return prefix


def is_complete(group: PackageGroup, *, packages_directory: Path) -> bool:
    """Return whether the group is unpacked."""
    return (packages_directory / group.key / ".complete").exists()


def program(prefix: Path, name: str) -> Path:
    """Return the path of a program in an unpacked group.

    Raises:
        MissingPrerequisiteError: The packages do not contain it.
    """
    for pattern in PROGRAM_DIRECTORIES:
        for directory in sorted(prefix.glob(pattern)):
            if (directory / name).exists():
                return directory / name
    raise MissingPrerequisiteError(
        f"the Debian packages in {prefix} have no {name}: this Debian release is not supported. "
        + ALTERNATIVES
    )


def parse_new_packages(simulation: str) -> tuple[str, ...]:
    r"""Return the packages `apt-get install -s` would add, leaving upgrades out.

    >>> parse_new_packages("Inst libx1 (1.0 Debian)\nInst old [1.0] (1.1 Debian)\nConf libx1 (1)")
    ('libx1',)
    """
    new = []
    for line in simulation.splitlines():
        words = line.split()
        if len(words) > 2 and words[0] == "Inst" and words[2].startswith("("):
            new.append(words[1])
    return tuple(new)


def _download(group: PackageGroup, directory: Path) -> list[Path]:
    # apt downloads as its own user, who must be able to write here.
    directory.chmod(0o777)
    if not _try_download(group, directory):
        if os.geteuid() == 0:
            _apt(["update", "-qq"], directory)
        if not _try_download(group, directory):
            raise MissingPrerequisiteError(
                f"Debian packages cannot be had ({', '.join(group.packages)}): check the network "
                f"and /etc/apt, then run apt-get update. {ALTERNATIVES}"
            )
    return sorted(directory.glob("*.deb"))


def _try_download(group: PackageGroup, directory: Path) -> bool:
    wanted = dict.fromkeys(group.packages)
    if group.with_libraries:
        simulated = _apt(["install", "-s", "--no-install-recommends", *group.packages], directory)
        if simulated.returncode != 0:
            return False
        wanted |= dict.fromkeys(parse_new_packages(simulated.stdout))
    return _apt(["download", *wanted], directory).returncode == 0


def _apt(arguments: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["apt-get", *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
    )


def _point_programs_at_libraries(prefix: Path) -> None:
    library_directories = [path for path in prefix.glob("usr/lib/*-linux-gnu") if path.is_dir()]
    shipped = {path.name for directory in library_directories for path in directory.iterdir()}
    patchelf = str(program(prefix, "patchelf"))
    for pattern in PROGRAM_DIRECTORIES:
        for path in prefix.glob(f"{pattern}/*"):
            if path.is_symlink() or not path.is_file():
                continue
            needed = subprocess.run(
                [patchelf, "--print-needed", str(path)],
                capture_output=True,
                text=True,
                check=False,
            )
            if shipped.isdisjoint(needed.stdout.split()):
                continue
            search = ":".join(str(directory) for directory in library_directories)
            # --force-rpath: unlike a RUNPATH, an RPATH also holds for the libraries' libraries.
            subprocess.run(
                [patchelf, "--force-rpath", "--set-rpath", search, str(path)], check=True
            )
