"""One training run: read history, prepare, fit, validate, store a model version."""
