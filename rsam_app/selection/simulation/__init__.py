"""Simulated rounds of labelling or relabelling with an oracle that knows the labels."""
