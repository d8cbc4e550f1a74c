"""What detectors of a model will need, told before anything runs.

Series are counted as detectors count them; a watch that nobody has looked at yet may bring as many
as `maxSeries` lets in. What auto will choose is taken to be what it chose last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from metricwatch.memory import Share, as_quantity, detector_bytes
from metricwatch.reported import read_report
from metricwatch.resources import AnomalyModelSpec, Scope
from metricwatch.resources.algorithm import Algorithm, LstmParameters, TcnParameters
from metricwatch.store.rows import Version
from metricwatch_operator.planning.desired import Desired
from metricwatch_operator.planning.health import Health

_NETWORKS: Mapping[str, type[LstmParameters | TcnParameters]] = {
    "lstm": LstmParameters,
    "tcn": TcnParameters,
}


def estimate_detector_memory(
    desired: Desired, versions: Iterable[Version], healths: Mapping[str, Health]
) -> str | None:
    """Memory of one detector pod as a quantity; None while there is nothing to score.

    Args:
        desired: What the model and its watches ask for.
        versions: Newest first.
        healths: By uid of the watch.
    """
    model = desired.model
    if model is None:
        return None
    parts = _parts(str(model.spec.algorithm.type), versions)
    shares = [
        Share(family, round(series * part), interval)
        for series, interval in _watched(desired, healths)
        for family, part in parts.items()
    ]
    if not shares:
        return None
    shards = model.spec.detector.shards
    return as_quantity(detector_bytes(shares, _algorithm(model.spec), shards=shards))


def _algorithm(spec: AnomalyModelSpec) -> Algorithm:
    """The parameters as the trainer reads them: a shared scope is a parameter of the network."""
    if spec.scope is not Scope.SHARED:
        return spec.algorithm
    name = spec.algorithm.type
    block = getattr(spec.algorithm, name) or _NETWORKS[name]()
    return spec.algorithm.model_copy(update={name: block.model_copy(update={"shared": True})})


def _watched(desired: Desired, healths: Mapping[str, Health]) -> Iterable[tuple[int, int]]:
    """Series and interval of each watch that can be scored."""
    for watch in desired.watches:
        data = watch.settings or watch.data
        if data is not None:
            series = healths.get(watch.uid, Health()).series or data.max_series
            yield series, data.interval_seconds


def _parts(wanted: str, versions: Iterable[Version]) -> dict[str, float]:
    """Each family's part of the series: as the newest version that was asked for the same."""
    for version in versions:
        counts = read_report(version.report).families
        if counts and version.request["algorithm"]["type"] == wanted:
            total = sum(counts.values())
            return {family: count / total for family, count in counts.items()}
    return {wanted: 1.0}
