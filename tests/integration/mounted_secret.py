"""A directory that changes the way the kubelet changes a mounted Secret."""

from collections.abc import Mapping
from pathlib import Path


class MountedSecret:
    """Files are links into `..data`, which is itself a link that is swapped as a whole."""

    def __init__(self, directory: Path, files: Mapping[str, bytes]) -> None:
        self.directory = directory
        self._generation = 0
        directory.mkdir(parents=True)
        self.exchange(files)

    def exchange(self, files: Mapping[str, bytes]) -> None:
        """Makes `files` the content, all at once."""
        self._generation += 1
        generation = self.directory / f"..generation-{self._generation}"
        generation.mkdir()
        for name, content in files.items():
            (generation / name).write_bytes(content)
        swap = self.directory / "..data_tmp"
        swap.symlink_to(generation.name)
        swap.rename(self.directory / "..data")
        for link in self.directory.iterdir():
            if not link.name.startswith("..") and link.name not in files:
                link.unlink()
        for name in files:
            link = self.directory / name
            if not link.is_symlink():
                link.symlink_to(Path("..data") / name)
