"""Which files DATA means, and how their recordings are called."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from pathlib import Path

from metricwatch_cli.backtest.problems import WrongFile, WrongInput

_ENDINGS = (".csv", ".csv.gz")


@dataclass(frozen=True, slots=True)
class File:
    """One file of DATA.

    Attributes:
        path: where it is.
        dataset: name of its folder; empty for a file that was given itself.
        name: its own without the ending.
    """

    path: Path
    dataset: str
    name: str

    @property
    def title(self) -> str:
        """DATASET/NAME."""
        return f"{self.dataset}/{self.name}" if self.dataset else self.name


def find_files(data: Path, *, only: str | None = None) -> list[File]:
    """Returns the files of DATA in order: the file itself, or those of a folder.

    Args:
        data: a CSV file, a folder of CSV files, or a folder of such folders.
        only: a pattern for DATASET/NAME, like `nab/*`.

    Raises:
        WrongInput: there is nothing there, or two files would have one name.
    """
    if not data.exists():
        raise WrongFile(data, "does not exist")
    if not data.is_dir():
        return [File(data, "", name_of(data))]
    here = data.resolve().name
    files = [File(path, here, name_of(path)) for path in _tables(data)]
    for folder in sorted(path for path in data.iterdir() if path.is_dir()):
        files += [File(path, folder.name, name_of(path)) for path in _tables(folder)]
    if only is not None:
        files = [one for one in files if fnmatch.fnmatch(one.title, only)]
    if not files:
        wanted = f" whose DATASET/SERIES matches {only!r}" if only else ""
        raise WrongFile(data, f"no DATASET/SERIES.csv or .csv.gz{wanted} is in it")
    _refuse_doubles(files)
    return files


def name_of(path: Path) -> str:
    """Returns the name of a file without .csv or .csv.gz.

    >>> name_of(Path("a/requests.total.csv.gz"))
    'requests.total'
    """
    return path.name.removesuffix(".gz").removesuffix(".csv")


def _tables(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.is_file() and path.name.endswith(_ENDINGS)
    )


def _refuse_doubles(files: list[File]) -> None:
    seen: dict[str, Path] = {}
    for file in files:
        other = seen.setdefault(file.title, file.path)
        if other != file.path:
            raise WrongInput(f"{other} and {file.path} are both {file.title}: remove one")
