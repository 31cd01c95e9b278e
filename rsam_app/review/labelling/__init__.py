"""Labelling from nothing: the dataset, the batches to label, and suggestions from the labels given so far."""
