"""What must be true of the rows and of the API server, whatever broke before.

Questions only, to a connection and to lists of manifests: nothing here knows how either was made.
Each answer is a list of sentences, one for each violation, and an empty one is good news.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Manifest = Mapping[str, Any]


class Asked(Protocol):
    """A connection to PostgreSQL, of whichever kind."""

    async def fetch(self, query: str, *arguments: Any) -> Sequence[Any]:
        """Rows of a query."""


# Each gives one sentence a row.
_ROWS = {
    "the version that serves": """
        SELECT format('%s names version %s, Serving are %s', i.name, i.serving_version,
            array_agg(v.version)) AS said
        FROM models_info i LEFT JOIN models v ON v.model_id = i.id AND v.state = 'Serving'
        GROUP BY i.id HAVING array_agg(v.version) IS DISTINCT FROM array[i.serving_version]""",
    "one run at a time": """
        SELECT format('%s trains versions %s', i.name, array_agg(v.version)) AS said
        FROM models_info i JOIN models v ON v.model_id = i.id AND v.state = 'Training'
        GROUP BY i.id HAVING count(*) > 1""",
    "what can serve has been learned": """
        SELECT format('%s version %s is %s, nothing learned', i.name, v.version, v.state) AS said
        FROM models v JOIN models_info i ON i.id = v.model_id
        WHERE v.state IN ('Serving', 'Candidate') AND (v.trained_at IS NULL OR NOT EXISTS (
            SELECT 1 FROM model_artifacts a WHERE a.models_row = v.id))""",
    "an anomaly that goes on is one": """
        SELECT format('series %s of %s: anomalies %s and %s overlap', a.labels, a.watch_name, a.id,
            b.id) AS said
        FROM anomaly_points a JOIN anomaly_points b ON a.metric_id = b.metric_id AND a.id < b.id
            AND a.started_at < coalesce(b.ended_at, 'infinity')
            AND b.started_at < coalesce(a.ended_at, 'infinity')""",
    "an anomaly's times are in order": """
        SELECT format('anomaly %s: start %s, peak %s, last %s, end %s', id, started_at, peak_at,
            last_anomalous_at, ended_at) AS said
        FROM anomaly_points WHERE NOT (started_at <= peak_at AND peak_at <= last_anomalous_at
            AND started_at <= coalesce(ended_at, last_anomalous_at))""",
    "a tick counts once in an anomaly": """
        SELECT format('anomaly %s has %s samples from %s to %s', p.id, p.samples, p.started_at,
            p.last_anomalous_at) AS said
        FROM anomaly_points p JOIN watches w ON w.uid = p.watch_uid
        WHERE p.samples > 1 + extract(epoch FROM p.last_anomalous_at - p.started_at)
            / (w.settings ->> 'intervalSeconds')::float8""",
    "an open anomaly has its series": """
        SELECT format('anomaly %s of %s is open without a series', id, watch_name) AS said
        FROM anomaly_points WHERE state IN ('open', 'acknowledged') AND metric_id IS NULL""",
    "a system's anomaly counts its members": """
        SELECT format('anomaly %s of system %s says %s members', s.id, s.system, s.members) AS said
        FROM anomaly_system s WHERE s.members <> (
            SELECT count(*) FROM anomaly_points p WHERE p.system_anomaly_id = s.id)""",
    "scores are of a series and a version that are known": """
        SELECT format('%s scores of series %s, version %s', count(*), p.metric_id, p.version)
            AS said
        FROM prediction_errors p WHERE NOT EXISTS (
            SELECT 1 FROM metrics m JOIN models v ON v.model_id = m.model_id
            WHERE m.id = p.metric_id AND v.version = p.version)
        GROUP BY p.metric_id, p.version""",
    "health is of a version that is known": """
        SELECT format('health of watch %s, version %s', w.name, h.version) AS said
        FROM watch_health h JOIN watches w ON w.id = h.watch_id WHERE NOT EXISTS (
            SELECT 1 FROM models v WHERE v.model_id = w.model_id AND v.version = h.version)""",
}
_STUDIES = """
    SELECT format('study %s', s.study_name) AS said FROM metricwatch_optuna.studies s
    WHERE NOT EXISTS (SELECT 1 FROM models v JOIN models_info i ON i.id = v.model_id
        WHERE i.uid = split_part(s.study_name, '/', 1)
        AND v.version::text = split_part(s.study_name, '/', 2))"""
_MISSED = """
    SELECT w.name, m.labels::text AS series, w.settings ->> 'intervalSeconds' AS interval,
        array_agg(DISTINCT extract(epoch FROM p.ts)::bigint) AS ticks
    FROM prediction_errors p JOIN metrics m ON m.id = p.metric_id
    JOIN watches w ON w.id = m.watch_id
    WHERE p.ts BETWEEN to_timestamp($1) AND to_timestamp($2) GROUP BY w.id, m.id"""
# The sharding that decided last counts: rows of another one stay where they were.
_UNDECIDED = """
    SELECT format('%s is decided until %s only', w.name, min(d.decided_until)) AS said
    FROM watches w LEFT JOIN decisions d ON d.watch_id = w.id AND d.shards = (
        SELECT n.shards FROM decisions n WHERE n.watch_id = w.id
        ORDER BY n.decided_until DESC NULLS LAST LIMIT 1)
    GROUP BY w.id
    HAVING coalesce(bool_or(d.decided_until IS NULL), true)
        OR min(d.decided_until) < to_timestamp($1)"""
_SESSIONS = """
    SELECT application_name AS name, count(*) AS sessions,
        count(*) FILTER (WHERE state LIKE 'idle in transaction%'
            AND now() - state_change > interval '5 s') AS forgotten
    FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND backend_type = 'client backend' GROUP BY 1 ORDER BY 1"""


async def wrong_rows(connection: Asked) -> list[str]:
    """What is wrong with the rows, at any moment."""
    questions = dict(_ROWS)
    known = await connection.fetch("SELECT to_regclass('metricwatch_optuna.studies') AS studies")
    if known[0]["studies"] is not None:
        questions["a study is of a version that is known"] = _STUDIES
    return [
        f"{rule}: {row['said']}"
        for rule, question in questions.items()
        for row in await connection.fetch(question)
    ]


async def missed_ticks(connection: Asked, *, since: int, until: int) -> list[str]:
    """Ticks from `since` to `until` that no version scored, of series that were scored at all.

    The caller knows in which time the source had a sample at every tick.
    """
    said = []
    for row in await connection.fetch(_MISSED, since, until):
        interval = int(row["interval"])
        expected = set(range(-(-since // interval) * interval, until + 1, interval))
        missed = sorted(expected - set(row["ticks"]))
        if missed:
            said.append(f"{row['name']} {row['series']} missed {missed[:5]} of {len(missed)}")
    return said


async def undecided(connection: Asked, *, until: int) -> list[str]:
    """Watches with a slice that is not decided up to this tick."""
    return [row["said"] for row in await connection.fetch(_UNDECIDED, until)]


async def leaked_sessions(connection: Asked, *, most: Mapping[str, int]) -> list[str]:
    """Sessions that nobody should have: more than `most` of a name, or stuck in a transaction.

    A name stands for all that begin with it; sessions of other names are not to be there.
    """
    said = []
    for row in await connection.fetch(_SESSIONS):
        allowed = [count for name, count in most.items() if row["name"].startswith(name)]
        if row["sessions"] > max(allowed, default=0):
            said.append(f"{row['sessions']} sessions of {row['name'] or 'nobody'}")
        if row["forgotten"]:
            said.append(f"{row['forgotten']} sessions of {row['name']} idle in a transaction")
    return said


@dataclass(frozen=True, slots=True)
class Cluster:
    """What the API server holds of some namespaces, as lists of manifests."""

    models: Sequence[Manifest]
    watches: Sequence[Manifest]
    jobs: Sequence[Manifest]
    deployments: Sequence[Manifest]
    pods: Sequence[Manifest]
    secrets: Sequence[Manifest]


async def wrong_objects(connection: Asked, cluster: Cluster) -> list[str]:
    """What is wrong with the objects once everything has come to rest."""
    rows = await connection.fetch(
        "SELECT i.uid, i.serving_version, v.version, v.state, v.replaced "
        "FROM models_info i LEFT JOIN models v ON v.model_id = i.id"
    )
    versions = {(row["uid"], row["version"]): row for row in rows}
    serving = {row["uid"]: row["serving_version"] for row in rows}
    return [
        *_orphans(cluster, set(serving)),
        *_detectors(cluster, versions, serving),
        *_trainers(cluster, versions),
        *_statuses(cluster, serving),
    ]


def _orphans(cluster: Cluster, known: set[str]) -> Iterable[str]:
    models = {_uid(one) for one in cluster.models}
    for uid in known - models:
        yield f"rows of model {uid}, which is gone"
    for child in (*cluster.jobs, *cluster.deployments, *cluster.secrets):
        if _owner(child) not in models:
            yield f"{_name(child)} belongs to nobody"
    for one in (*cluster.models, *cluster.watches):
        if "deletionTimestamp" in one["metadata"]:
            yield f"{_name(one)} is still being deleted"
    names = {_name(one) for one in (*cluster.jobs, *cluster.deployments)}
    for pod in cluster.pods:
        # A detector's pod is named after its ReplicaSet, and that one after its Deployment.
        ours = pod["metadata"]["labels"].get("app.kubernetes.io/component")
        if ours in ("trainer", "detector") and not any(
            _name(pod).startswith(f"{name}-") for name in names
        ):
            yield f"pod {_name(pod)} belongs to nothing"


def _detectors(
    cluster: Cluster, versions: Mapping[tuple[str, Any], Any], serving: Mapping[str, Any]
) -> Iterable[str]:
    running = set()
    for one in cluster.deployments:
        uid, number = _owner(one), _version(one)
        running.add((uid, number))
        row = versions.get((uid, number))
        may_run = row is not None and (
            row["state"] in ("Serving", "Candidate")
            or versions[uid, serving[uid]]["replaced"] == number
        )
        if not may_run:
            yield f"{_name(one)} runs version {number}: {row and row['state']}"
    for model in cluster.models:
        serves = serving.get(_uid(model))
        if model["spec"].get("suspend") or serves is None:
            continue
        if (_uid(model), serves) not in running:
            yield f"version {serves} of {_name(model)} serves without a detector"


def _trainers(cluster: Cluster, versions: Mapping[tuple[str, Any], Any]) -> Iterable[str]:
    for job in cluster.jobs:
        row = versions.get((_owner(job), _version(job)))
        ends = {one["type"] for one in (job.get("status") or {}).get("conditions") or ()}
        if row is None:
            yield f"{_name(job)} is of a version that is gone"
        elif row["state"] != "Training" and not ends & {"Complete", "Failed"}:
            yield f"{_name(job)} trains a version that is {row['state']}"
    slots: dict[tuple[str, str], int] = {}
    for pod in cluster.pods:
        labels = pod["metadata"]["labels"]
        if labels.get("app.kubernetes.io/component") != "trainer":
            continue
        if (pod.get("status") or {}).get("phase") in ("Pending", "Running"):
            index = labels.get("batch.kubernetes.io/job-completion-index", "")
            slot = (labels.get("batch.kubernetes.io/job-name", ""), index)
            slots[slot] = slots.get(slot, 0) + 1
    for (job_name, index), count in slots.items():
        if count > 1:
            yield f"{count} pods train slice {index} of {job_name} at once"


def _statuses(cluster: Cluster, serving: Mapping[str, Any]) -> Iterable[str]:
    for one in (*cluster.models, *cluster.watches):
        status = one.get("status") or {}
        generation = one["metadata"]["generation"]
        if status.get("observedGeneration") != generation:
            yield f"{_name(one)}: the status is of {status.get('observedGeneration')}"
        for condition in status.get("conditions") or ():
            if condition.get("observedGeneration", generation) != generation:
                yield f"{_name(one)}: {condition['type']} is of an older generation"
    for model in cluster.models:
        said = (model.get("status") or {}).get("servingVersion")
        if said != serving.get(_uid(model)):
            yield f"{_name(model)} says that {said} serves, not {serving.get(_uid(model))}"


def _name(manifest: Manifest) -> str:
    return str(manifest["metadata"]["name"])


def _uid(manifest: Manifest) -> str:
    return str(manifest["metadata"]["uid"])


def _owner(manifest: Manifest) -> str:
    owners = manifest["metadata"].get("ownerReferences") or ({"uid": ""},)
    return str(owners[0]["uid"])


def _version(manifest: Manifest) -> int:
    return int((manifest["metadata"].get("labels") or {}).get("metricwatch.io/version", 0))
