"""Metrics to watch where there are none: a simulated shop, or files of one's own replayed.

No imports but numpy, because it runs from a ConfigMap in a small image. It fills VictoriaMetrics
with history and then goes on live. Every value is a pure function of seed and time: history and
live agree, a restart continues where it stopped, and one seed always gives the same shop.
"""
