-- What the life of a version needs: when it could have served, whom it took over from, how its
-- shards were trained, and whether the data has left what it learned.

ALTER TABLE models
    -- When its detectors were ready for the first time: a comparison counts from here.
    ADD COLUMN ready_at timestamptz,
    -- The version it took over from by itself; while that one runs on, it may take over again.
    ADD COLUMN replaced integer;

-- A suspended model trains nothing and keeps no place in the queue.
ALTER TABLE models_info ADD COLUMN suspended boolean NOT NULL DEFAULT false;
CREATE INDEX models_training ON models (created_at, id) WHERE state = 'Training';

-- One row for each pod of a run that several share; the last one makes the version.
CREATE TABLE training_shards (
    models_row bigint NOT NULL REFERENCES models (id) ON DELETE CASCADE,
    shard integer NOT NULL,
    shards integer NOT NULL CHECK (shard >= 0 AND shard < shards),
    result jsonb NOT NULL,
    trained_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (models_row, shard)
);

-- Share of series whose samples are no longer as the version learned them.
ALTER TABLE watch_health ADD COLUMN drift real;
