ALTER TABLE watch_health DROP COLUMN drift;
DROP TABLE training_shards;
DROP INDEX models_training;
ALTER TABLE models_info DROP COLUMN suspended;
ALTER TABLE models DROP COLUMN replaced, DROP COLUMN ready_at;
