"""Simulated rounds: what labelling or relabelling would have brought, with an oracle that knows the labels."""
