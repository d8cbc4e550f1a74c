"""One model version, live: read, score, classify, record, export."""
