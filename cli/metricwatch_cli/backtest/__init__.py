"""Trying models on recorded data: the code of trainer and detector, without a cluster.

`reading` and `queries` make recordings, `settings` says how to learn and judge, `teaching` and
`walking` call trainer and detector, `judging` compares with labels, `running` is what one process
does with its share. What comes of it is written by `detections`, `reports`, `plots` and `page`.
"""
