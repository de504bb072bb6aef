"""Scoring: from a row of a source to an answer of the model."""
