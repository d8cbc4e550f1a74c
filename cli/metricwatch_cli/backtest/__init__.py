"""Trying models on recorded data: the code of trainer and detector, without a cluster.

`reading` and `queries` make recordings, `settings` says how to learn and when to raise an anomaly,
`walking` learns and walks forward, `judging` compares with labels, `running` spreads the work over
processes; what comes of it is written by `detections`, `tables`, `plots` and `page`.
"""
