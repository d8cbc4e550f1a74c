-- The first schema. All names are unqualified: they live in the first schema of the search path.
-- Order of locks: models_info, models, watches, decisions, the advisory lock of a system, metrics,
-- anomaly_points, anomaly_system. Deleting a model or a watch cascades in an order of its own; it may
-- meet a decision of that model in a deadlock, which PostgreSQL ends and both sides retry.

CREATE TABLE models_info (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uid text NOT NULL UNIQUE,
    namespace text NOT NULL,
    name text NOT NULL,
    generation bigint NOT NULL,
    -- Guarded by set_serving: no foreign key, because models refers to this table.
    serving_version integer,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE watches (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uid text NOT NULL UNIQUE,
    model_id bigint NOT NULL REFERENCES models_info (id) ON DELETE CASCADE,
    namespace text NOT NULL,
    name text NOT NULL,
    generation bigint NOT NULL,
    settings jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX watches_model_id ON watches (model_id);

CREATE TABLE models (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model_id bigint NOT NULL REFERENCES models_info (id) ON DELETE CASCADE,
    version integer NOT NULL CHECK (version > 0),
    state text NOT NULL CHECK (state IN ('Training', 'Candidate', 'Serving', 'Retired', 'Failed', 'Rejected')),
    reason text NOT NULL DEFAULT '',
    message text NOT NULL DEFAULT '',
    request jsonb NOT NULL,
    request_hash text NOT NULL,
    attempt integer NOT NULL DEFAULT 1,
    code_version text NOT NULL DEFAULT '',
    window_start timestamptz,
    window_end timestamptz,
    data_hash text,
    seed bigint,
    report jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    trained_at timestamptz,
    served_at timestamptz,
    retired_at timestamptz,
    UNIQUE (model_id, version)
);
-- At most one version of a model serves, whatever the code does.
CREATE UNIQUE INDEX models_one_serving ON models (model_id) WHERE state = 'Serving';

CREATE TABLE model_artifacts (
    models_row bigint NOT NULL REFERENCES models (id) ON DELETE CASCADE,
    shard integer NOT NULL,
    chunk integer NOT NULL,
    family text NOT NULL,
    watch_uid text NOT NULL,
    series integer NOT NULL,
    sha256 bytea NOT NULL CHECK (length(sha256) = 32),
    content bytea NOT NULL,
    PRIMARY KEY (models_row, shard, chunk)
);
-- Weights do not compress; trying costs the trainer seconds.
ALTER TABLE model_artifacts ALTER COLUMN content SET STORAGE EXTERNAL;

CREATE TABLE metrics (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model_id bigint NOT NULL REFERENCES models_info (id) ON DELETE CASCADE,
    watch_id bigint NOT NULL REFERENCES watches (id) ON DELETE CASCADE,
    series_id bigint NOT NULL,
    labels jsonb NOT NULL,
    first_seen timestamptz NOT NULL DEFAULT now(),
    last_seen timestamptz NOT NULL DEFAULT now(),
    UNIQUE (watch_id, series_id)
);
CREATE INDEX metrics_model_id ON metrics (model_id);

-- No foreign key on metric_id: checking it for each of thousands of rows a tick costs more than it
-- guards. Ids are never given twice, so rows of a series that is gone can only age out.
CREATE TABLE prediction_errors (
    metric_id bigint NOT NULL,
    version integer NOT NULL,
    ts timestamptz NOT NULL,
    value double precision,
    expected double precision,
    lower double precision,
    upper double precision,
    rarity real,
    score real,
    anomalous boolean NOT NULL,
    PRIMARY KEY (metric_id, version, ts)
) PARTITION BY RANGE (ts);

CREATE TABLE anomaly_system (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model_id bigint NOT NULL REFERENCES models_info (id) ON DELETE CASCADE,
    system text NOT NULL,
    state text NOT NULL CHECK (state IN ('open', 'acknowledged', 'resolved', 'expired')),
    severity text NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    members integer NOT NULL DEFAULT 0,
    UNIQUE (model_id, system, started_at),
    CHECK ((ended_at IS NULL) = (state IN ('open', 'acknowledged')))
);
CREATE UNIQUE INDEX anomaly_system_one_open ON anomaly_system (model_id, system)
    WHERE state IN ('open', 'acknowledged');

-- An anomaly outlives its watch and its series: it carries the names and labels it was found under.
CREATE TABLE anomaly_points (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model_id bigint NOT NULL REFERENCES models_info (id) ON DELETE CASCADE,
    watch_uid text NOT NULL,
    watch_name text NOT NULL,
    metric_id bigint REFERENCES metrics (id) ON DELETE SET NULL,
    labels jsonb NOT NULL,
    system text NOT NULL,
    version integer NOT NULL,
    kind text NOT NULL CHECK (kind IN ('point', 'collective')),
    state text NOT NULL CHECK (state IN ('open', 'acknowledged', 'resolved', 'expired')),
    severity text NOT NULL,
    direction text NOT NULL CHECK (direction IN ('above', 'below', 'missing')),
    started_at timestamptz NOT NULL,
    last_anomalous_at timestamptz NOT NULL,
    peak_at timestamptz NOT NULL,
    ended_at timestamptz,
    peak_score double precision,
    peak_value double precision,
    peak_expected double precision,
    samples integer NOT NULL,
    explanation jsonb NOT NULL DEFAULT '{}',
    system_anomaly_id bigint REFERENCES anomaly_system (id) ON DELETE SET NULL,
    UNIQUE (metric_id, started_at),
    CHECK ((ended_at IS NULL) = (state IN ('open', 'acknowledged')))
);
CREATE UNIQUE INDEX anomaly_points_one_open ON anomaly_points (metric_id)
    WHERE state IN ('open', 'acknowledged');
CREATE INDEX anomaly_points_watch ON anomaly_points (watch_uid, started_at);
CREATE INDEX anomaly_points_model ON anomaly_points (model_id, started_at);
CREATE INDEX anomaly_points_open ON anomaly_points (model_id, system)
    WHERE state IN ('open', 'acknowledged');
CREATE INDEX anomaly_points_system_anomaly ON anomaly_points (system_anomaly_id)
    WHERE system_anomaly_id IS NOT NULL;

CREATE TABLE notifications (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model_id bigint NOT NULL REFERENCES models_info (id) ON DELETE CASCADE,
    dedup_key text NOT NULL UNIQUE,
    channel text NOT NULL,
    payload jsonb NOT NULL,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sent', 'failed')),
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX notifications_model_id ON notifications (model_id);
CREATE INDEX notifications_pending ON notifications (next_attempt_at) WHERE state = 'pending';

CREATE TABLE decisions (
    watch_id bigint NOT NULL REFERENCES watches (id) ON DELETE CASCADE,
    shards integer NOT NULL,
    shard integer NOT NULL CHECK (shard >= 0 AND shard < shards),
    decided_until timestamptz,
    PRIMARY KEY (watch_id, shards, shard)
);

CREATE TABLE watch_health (
    watch_id bigint NOT NULL REFERENCES watches (id) ON DELETE CASCADE,
    version integer NOT NULL,
    shards integer NOT NULL,
    shard integer NOT NULL CHECK (shard >= 0 AND shard < shards),
    state text NOT NULL,
    message text NOT NULL DEFAULT '',
    series integer NOT NULL DEFAULT 0,
    left_out integer NOT NULL DEFAULT 0,
    scored_at timestamptz,
    last_sample_at timestamptz,
    lag_seconds double precision,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (watch_id, version, shards, shard)
);
-- Written every tick by every shard: room on each page keeps those updates off the index.
ALTER TABLE watch_health SET (fillfactor = 50);
ALTER TABLE decisions SET (fillfactor = 50);
