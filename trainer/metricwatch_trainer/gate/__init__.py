"""The quality gate's measuring: what a new version is worth beside the one that serves.

The tail of the history is held back (`tail`, `holding`), the version learns from the head, and
both versions walk the tail with the code of the detector (`walks`), as it was and with anomalies
put in (`disturbing`). The counts (`sides`) go into the report; the operator judges them.
"""
