"""One chunk of a model version as bytes, and back.

safetensors with a JSON header in its metadata: nothing in an artifact can run. Bytes from a
database are not trusted: their checksum, the size of the header, every tensor's name, type and
shape, and the number of series are checked before anything is made of them, and a bank or a
calibration checks its own values when it is restored.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from metricwatch.algorithms import FAMILIES, Bank
from metricwatch.calibration import Calibration
from metricwatch.series import Labels

FORMAT: Final = 1
MOST_SERIES: Final = 1000
MOST_BYTES: Final = 512 * 1024 * 1024
_MOST_HEADER_BYTES: Final = 16 * 1024 * 1024
_HEADER_KEY = "metricwatch"
_BANK = "bank."
_CALIBRATION = "calibration."


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
        calibration: of the same series.
    """

    watch_uid: str
    interval: int
    labels: tuple[Labels, ...]
    bank: Bank
    calibration: Calibration

    @property
    def family(self) -> str:
        """Name of the family of its bank."""
        return self.bank.family

    @property
    def series(self) -> int:
        """How many series it holds."""
        return len(self.labels)


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    family: str
    watch_uid: str
    interval: int
    labels: tuple[tuple[tuple[str, str], ...], ...]
    bank: dict[str, Any]
    calibration: dict[str, Any]


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
    if {chunk.bank.series, chunk.calibration.series} != {chunk.series}:
        raise ArtifactError("labels, bank and calibration are not of the same series")
    header = _Header(
        format=FORMAT,
        family=chunk.family,
        watch_uid=chunk.watch_uid,
        interval=chunk.interval,
        labels=chunk.labels,
        bank=chunk.bank.header(),
        calibration=chunk.calibration.header(),
    )
    tensors = {_BANK + name: value for name, value in chunk.bank.tensors().items()}
    tensors |= {_CALIBRATION + name: value for name, value in chunk.calibration.tensors().items()}
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
    family = FAMILIES.get(header.family)
    if family is None:
        raise ArtifactError(f"artifact is of family {header.family!r}, unknown to this release")
    tensors = _read_tensors(content)
    try:
        bank = family.restore(header.bank, _part(tensors, _BANK))
        calibration = Calibration.restore(header.calibration, _part(tensors, _CALIBRATION))
    except (ValueError, TypeError) as error:
        raise ArtifactError(f"artifact of family {header.family}: {error}") from error
    if {bank.series, calibration.series} != {len(header.labels)}:
        raise ArtifactError(
            f"artifact names {len(header.labels)} series, its bank has {bank.series} "
            f"and its calibration {calibration.series}"
        )
    return ModelChunk(
        watch_uid=header.watch_uid,
        interval=header.interval,
        labels=header.labels,
        bank=bank,
        calibration=calibration,
    )


def _read_header(content: bytes) -> _Header:
    """Reads the metadata by hand: the library for NumPy gives tensors only."""
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or not 0 < length <= min(_MOST_HEADER_BYTES, len(content) - 8):
        raise ArtifactError("artifact is cut short or is no safetensors file")
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
