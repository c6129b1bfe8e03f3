"""Judging a Predictor: run once over a split, measured against the truth and against a constant box."""
