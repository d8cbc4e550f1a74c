DROP TABLE watch_health, decisions, notifications, anomaly_points, anomaly_system, prediction_errors,
    metrics, model_artifacts, models, watches, models_info;
