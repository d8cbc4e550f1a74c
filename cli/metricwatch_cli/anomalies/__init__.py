"""`metricwatch anomalies`: what was found, and what people say of it."""
