ALTER TABLE anomaly_points
    DROP COLUMN feedback, DROP COLUMN feedback_reason, DROP COLUMN feedback_by, DROP COLUMN feedback_at;
