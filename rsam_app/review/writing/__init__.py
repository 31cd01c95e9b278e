"""Writes a run's predictions into the FiftyOne dataset."""
