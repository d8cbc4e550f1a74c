"""What to do, decided from what was observed: pure functions, no clock, network or database."""
