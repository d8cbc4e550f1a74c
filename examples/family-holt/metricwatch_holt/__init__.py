"""Holt's linear trend with damping, as a family of Metricwatch."""

from metricwatch_holt.family import HOLT, HoltParameters

__all__ = ["HOLT", "HoltParameters"]
