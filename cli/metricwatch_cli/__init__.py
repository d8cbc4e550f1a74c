"""The metricwatch command."""
