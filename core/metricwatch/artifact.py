"""One chunk of a model version as bytes, and back.

safetensors with a JSON header in its metadata: nothing in an artifact can run. Bytes from a
database are not trusted: their checksum, the size of the header, every tensor's name, type and
shape, and the number of series are checked before anything is made of them, and a bank or a
scoring checks its own values when it is restored.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from metricwatch.algorithms import Bank, SystemBank, UnknownFamilyError, family_named
from metricwatch.algorithms.base import Header, Tensors
from metricwatch.algorithms.system import ChannelSystemBank, restore_systems
from metricwatch.scoring import Scoring
from metricwatch.series import Labels

FORMAT: Final = 2
MOST_SERIES: Final = 1000
MOST_BYTES: Final = 512 * 1024 * 1024
# Room for the labels of as many series as a chunk may have, each as long as a source may give it.
MOST_HEADER_BYTES: Final = 32 * 1024 * 1024
_HEADER_KEY = "metricwatch"
# What a family, which may be somebody else's, stumbles over in a header that it does not expect.
_WRONG = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, MemoryError)
_BANK = "bank."
_SCORING = "scoring."


class ArtifactError(Exception):
    """Stored bytes are not a chunk that this version can use; the message says why."""


@dataclass(frozen=True, slots=True, eq=False)
class ModelChunk:
    """Up to 1,000 series of one family and one watch, ready to score.

    Attributes:
        watch_uid: the watch they belong to.
        interval: seconds between the samples they learned from.
        labels: one entry for each series.
        bank: parameters and fresh state, the same series in the same order.
        scoring: of the same series, or of the systems.
        systems: labels of the systems that a multivariate bank makes of its series.
    """

    watch_uid: str
    interval: int
    labels: tuple[Labels, ...]
    bank: Bank
    scoring: Scoring
    systems: tuple[Labels, ...] = ()

    @property
    def scored(self) -> tuple[Labels, ...]:
        """What has a score each: systems where there are any, else series."""
        return self.systems or self.labels

    @property
    def family(self) -> str:
        """Name of the family of its bank."""
        return self.bank.family

    @property
    def series(self) -> int:
        """How many series it holds."""
        return len(self.labels)

    def select(self, rows: Sequence[int]) -> ModelChunk:
        """Returns a chunk of some of its series, with fresh state.

        Raises:
            ValueError: it holds systems, and those are never cut.
        """
        if self.systems:
            raise ValueError("a chunk of systems cannot be cut")
        index = np.asarray(rows, np.intp)
        bank = _restorer(self.family)(self.bank.header(), _rows(self.bank.tensors(), index))
        scoring = Scoring.restore(
            bank.streams, self.scoring.header(), _rows(self.scoring.tensors(), index)
        )
        labels = tuple(self.labels[row] for row in index)
        return replace(self, labels=labels, bank=bank, scoring=scoring)


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    family: str
    watch_uid: str
    interval: int
    labels: tuple[tuple[tuple[str, str], ...], ...]
    bank: dict[str, Any]
    scoring: dict[str, Any]
    systems: tuple[tuple[tuple[str, str], ...], ...] = ()


def sha256(content: bytes) -> str:
    """Returns the checksum that is stored beside an artifact, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def pack(chunk: ModelChunk) -> bytes:
    """Returns `chunk` as bytes; the same chunk gives the same bytes.

    Raises:
        ArtifactError: it holds no series, too many, or parts of different size.
    """
    if not 0 < chunk.series <= MOST_SERIES:
        raise ArtifactError(f"a chunk holds 1 to {MOST_SERIES} series, not {chunk.series}")
    _check_sizes(chunk)
    header = _Header(
        format=FORMAT,
        family=chunk.family,
        watch_uid=chunk.watch_uid,
        interval=chunk.interval,
        labels=chunk.labels,
        bank=chunk.bank.header(),
        scoring=chunk.scoring.header(),
        systems=chunk.systems,
    )
    tensors = {_BANK + name: value for name, value in chunk.bank.tensors().items()}
    tensors |= {_SCORING + name: value for name, value in chunk.scoring.tensors().items()}
    contiguous = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    content: bytes = save(contiguous, metadata={_HEADER_KEY: msgspec.json.encode(header).decode()})
    return content


def unpack(content: bytes, *, checksum: str | None = None) -> ModelChunk:
    """Returns the chunk in `content`.

    Args:
        content: what `pack` gave.
        checksum: what `sha256` gave then; None when the caller has checked already.

    Raises:
        ArtifactError: the bytes are damaged, of another format, or not what they claim to be.
    """
    if len(content) > MOST_BYTES:
        raise ArtifactError(f"artifact of {len(content)} bytes is larger than {MOST_BYTES}")
    if checksum is not None and sha256(content) != checksum:
        raise ArtifactError("artifact does not match its checksum: it was damaged or replaced")
    header = _read_header(content)
    try:
        restore = _restorer(header.family)
    except UnknownFamilyError as error:
        raise ArtifactError(f"artifact cannot be used: {error}") from error
    tensors = _read_tensors(content)
    try:
        bank = restore(header.bank, _part(tensors, _BANK))
        scoring = Scoring.restore(bank.streams, header.scoring, _part(tensors, _SCORING))
    except _WRONG as error:
        raise ArtifactError(
            f"artifact of family {header.family}: {error or type(error).__name__}"
        ) from error
    chunk = ModelChunk(
        watch_uid=header.watch_uid,
        interval=header.interval,
        labels=header.labels,
        bank=bank,
        scoring=scoring,
        systems=header.systems,
    )
    _check_sizes(chunk)
    return chunk


def _restorer(family: str) -> Callable[[Header, Tensors], Bank]:
    if family == ChannelSystemBank.family:
        return restore_systems
    return family_named(family).restore


def _rows(tensors: Tensors, index: NDArray[np.intp]) -> dict[str, NDArray[Any]]:
    return {name: value[index] for name, value in tensors.items()}


def _check_sizes(chunk: ModelChunk) -> None:
    """Refuses parts that are not of the same series.

    Raises:
        ArtifactError: says how many each has.
    """
    bank, scored = chunk.bank, chunk.scoring.series
    systems = bank.systems if isinstance(bank, SystemBank) else 0
    if bank.series != chunk.series or systems != len(chunk.systems):
        raise ArtifactError(
            f"{chunk.series} series and {len(chunk.systems)} systems are named, the bank has "
            f"{bank.series} and {systems}"
        )
    if scored != len(chunk.scored):
        raise ArtifactError(
            f"{len(chunk.scored)} of them are to be scored, the scoring has {scored}"
        )


def _read_header(content: bytes) -> _Header:
    """Reads the metadata by hand: the library for NumPy gives tensors only."""
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or not 0 < length <= len(content) - 8:
        raise ArtifactError("artifact is cut short or is no safetensors file")
    if length > MOST_HEADER_BYTES:
        raise ArtifactError(
            f"artifact description of {length} bytes is larger than {MOST_HEADER_BYTES}"
        )
    try:
        metadata = json.loads(content[8 : 8 + length])["__metadata__"]
        header = msgspec.json.decode(metadata[_HEADER_KEY], type=_Header)
    except (ValueError, LookupError, TypeError, RecursionError, msgspec.MsgspecError) as error:
        raise ArtifactError(f"artifact header cannot be read: {error}") from error
    if header.format != FORMAT:
        raise ArtifactError(
            f"artifact has format {header.format}, this release reads {FORMAT}: train again"
        )
    if not 0 < len(header.labels) <= MOST_SERIES or header.interval < 1:
        raise ArtifactError(
            f"artifact holds {len(header.labels)} series every {header.interval} seconds"
        )
    return header


def _read_tensors(content: bytes) -> dict[str, NDArray[Any]]:
    try:
        tensors: dict[str, NDArray[Any]] = load(content)
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise ArtifactError(f"artifact tensors cannot be read: {error}") from error
    return tensors


def _part(tensors: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
