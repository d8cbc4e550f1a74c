"""How much memory a detector needs, before it runs: from numbers of series and from parameters.

The sizes are those of the arrays that a bank holds, counted array by array and checked against
restored banks by a test. Around them stands what every series costs whatever its family: labels,
calibration, verdicts, its lines of the exposition. A detector that starts needs up to 300 MiB more
for some seconds, while the history that warms it up is read (`docs/sizing.md`).

Nothing here imports a family: the operator asks, and it loads none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from pydantic.alias_generators import to_snake

from metricwatch.resources.algorithm import (
    Algorithm,
    AutoregressiveParameters,
    EnsembleParameters,
    IsolationForestParameters,
    KmeansParameters,
    LstmParameters,
    SubspacePcaParameters,
    TcnParameters,
)
from metricwatch.resources.family_names import AlgorithmType
from metricwatch.resources.seasonal import SeasonalParameters

BASE_BYTES: Final = 80 * 2**20
"""A detector without any series: the interpreter, NumPy, the connections."""
SERIES_BYTES: Final = 8400
"""One series with four labels, scoring included, its bank not: what 100 to 20,000 series add to
the resident memory of `benchmarks/detector_tick.py`."""
OTHER_BYTES: Final = 6 * 2**10
"""A family that nothing is known of: what the cheap ones may need at most."""

_MIB = 2**20
_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Share:
    """Series that one detector scores with one family.

    Attributes:
        family: as in `FAMILIES`, or auto while nothing is known of its choice.
        series: how many.
        interval: seconds between samples.
    """

    family: str
    series: int
    interval: int


def detector_bytes(shares: Iterable[Share], algorithm: Algorithm, *, shards: int = 1) -> int:
    """Returns what the detector of one shard holds.

    Args:
        shares: of all shards together.
        algorithm: of the model, for the parameters of its family.
        shards: among which the series are divided.
    """
    total = sum(
        share.series * (SERIES_BYTES + bank_bytes(share.family, algorithm, share.interval))
        for share in shares
    )
    return BASE_BYTES + round(total / shards)


def bank_bytes(family: str, algorithm: Algorithm, interval: int) -> int:
    """Returns what one series takes in a bank of many.

    Args:
        family: as in `FAMILIES`.
        algorithm: its block of this family counts; a family that auto chose has its defaults.
            Of a network that all series share, what they share counts nothing.
        interval: seconds between samples.
    """
    size = _BANKS.get(family)
    if size is None:
        return OTHER_BYTES
    return round(size(getattr(algorithm, to_snake(family)), interval))


def as_quantity(count: int) -> str:
    """Returns bytes as Kubernetes writes them, in whole mebibytes.

    >>> as_quantity(120 * 2**20 + 1)
    '121Mi'
    """
    return f"{-(-count // _MIB)}Mi"


def _seasonal(given: SeasonalParameters | None, interval: int) -> float:
    parameters = given or SeasonalParameters()
    periods = sorted(period.seconds for period in parameters.periods)
    # One node for each sample of the period at most; the shortest period has the finest profile.
    most = [288, *[168] * (len(periods) - 1)]
    nodes = sum(min(one, period / interval) for one, period in zip(most, periods, strict=True))
    return 1100 + 4 * nodes


def _autoregressive(given: AutoregressiveParameters | None, interval: int) -> float:
    return _ridge((given or AutoregressiveParameters()).lags)


def _ridge(lags: int) -> float:
    """A weight for each lag, and a ring of twice as many samples."""
    return 47 + 12 * lags


def _lstm(given: LstmParameters | None, interval: int) -> float:
    parameters = given or LstmParameters()
    hidden = parameters.hidden
    # Recurrent weights of one byte for four gates; step, entry and bias of each gate; head; state.
    recurrent = 0 if parameters.shared else 4 * hidden**2
    return recurrent + 3 * 16 * hidden + 12 * hidden + _ridge(parameters.ridge_lags)


def _tcn(given: TcnParameters | None, interval: int) -> float:
    parameters = given or TcnParameters()
    channels, layers = parameters.channels, parameters.layers
    # Two taps of one byte for each pair of channels; what each layer must remember; scales.
    mixing = 0 if parameters.shared else 2 * layers * channels**2
    past = 4 * channels * ((1 << layers) - 1)
    return mixing + past + channels * (8 * layers + 12) + _ridge(parameters.ridge_lags)


def _zscore(given: Any, interval: int) -> float:
    return 20


def _adaptive_threshold(given: Any, interval: int) -> float:
    return 296


def _subspace_pca(given: SubspacePcaParameters | None, interval: int) -> float:
    parameters = given or SubspacePcaParameters()
    window = parameters.window or 32
    return 335 + window * (13 + 4 * min(parameters.components, window // 3))


def _isolation_forest(given: IsolationForestParameters | None, interval: int) -> float:
    parameters = given or IsolationForestParameters()
    # A tree of six levels: 63 cuts of two bytes, 64 depths of one.
    return 190 * parameters.trees + _windows(parameters.window, interval) + 90


def _kmeans(given: KmeansParameters | None, interval: int) -> float:
    parameters = given or KmeansParameters()
    # Eleven features of four bytes.
    return 44 * (parameters.clusters or 8) + _windows(parameters.window, interval)


def _windows(window: int | None, interval: int) -> float:
    """Samples of the latest window, whether they are known, and scales of its features."""
    return 246 + 9 * (window or max(8, min(64, _DAY // interval)))


def _labelled(given: Any, interval: int) -> float:
    """Windows alone: what labels taught is one for all series of a bank."""
    return 190 + _windows((given.window if given else None) or 16, interval)


def _ensemble(given: EnsembleParameters | None, interval: int) -> float:
    """Its members with their defaults; steps and levels are a few numbers."""
    parameters = given or EnsembleParameters()
    votes = (name for name in _BANKS if getattr(parameters, to_snake(name), False) is True)
    return 200 + sum(_BANKS[name](None, interval) for name in votes)


_BANKS: Mapping[str, Callable[[Any, int], float]] = MappingProxyType(
    {
        AlgorithmType.SEASONAL: _seasonal,
        AlgorithmType.AUTOREGRESSIVE: _autoregressive,
        AlgorithmType.LSTM: _lstm,
        AlgorithmType.TCN: _tcn,
        AlgorithmType.ZSCORE: _zscore,
        AlgorithmType.ADAPTIVE_THRESHOLD: _adaptive_threshold,
        AlgorithmType.SUBSPACE_PCA: _subspace_pca,
        AlgorithmType.ISOLATION_FOREST: _isolation_forest,
        AlgorithmType.KMEANS: _kmeans,
        AlgorithmType.RANDOM_FOREST: _labelled,
        AlgorithmType.XGBOOST: _labelled,
        AlgorithmType.HELM: _labelled,
        AlgorithmType.ENSEMBLE: _ensemble,
    }
)
