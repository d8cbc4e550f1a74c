"""Metricwatch: learns how metrics behave and says when they behave as they never did."""

__version__ = "0.1.0"
