"""A folder of results that is there whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from metricwatch_cli.backtest.problems import WrongFile


def refuse_foreign(out: Path, *, marker: str) -> None:
    """Refuses to replace what is no earlier result.

    Args:
        out: where the result will be.
        marker: a file that only results have.

    Raises:
        WrongFile: something else is there.
    """
    if out.is_dir() and (not any(out.iterdir()) or (out / marker).is_file()):
        return
    if out.exists():
        raise WrongFile(
            out,
            f"exists and has no {marker}, so it is no earlier result: give another folder to "
            "--out, or remove it",
        )


@contextmanager
def staged(out: Path, *, marker: str) -> Iterator[Path]:
    """Yields a folder to write to, which becomes `out` at the end, unless an error comes before.

    Raises:
        WrongFile: `out` cannot be made, or is something that would be lost.
    """
    refuse_foreign(out, marker=marker)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.partial-", dir=out.parent))
    except OSError as error:
        raise WrongFile(out, f"cannot be written: {error.strerror or error}") from error
    try:
        yield folder
        _replace(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _replace(folder: Path, out: Path) -> None:
    """Puts the folder where an earlier result may be; the earlier one is lost last."""
    folder.chmod(0o755)
    if not out.exists():
        folder.rename(out)
        return
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.earlier-", dir=out.parent) as earlier:
        out.rename(Path(earlier) / "result")
        try:
            folder.rename(out)
        except OSError:
            (Path(earlier) / "result").rename(out)
            raise
