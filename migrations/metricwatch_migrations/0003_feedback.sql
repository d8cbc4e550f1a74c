-- What a person said of an anomaly. It is part of the anomaly, which outlives its version, its
-- watch and its series; who removes old anomalies keeps those that were judged.
ALTER TABLE anomaly_points
    ADD COLUMN feedback text CHECK (feedback IN ('dismissed', 'confirmed')),
    ADD COLUMN feedback_reason text,
    ADD COLUMN feedback_by text,
    ADD COLUMN feedback_at timestamptz,
    ADD CHECK (num_nulls(feedback, feedback_reason, feedback_by, feedback_at) IN (0, 4));
