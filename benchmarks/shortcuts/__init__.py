"""Datasets whose backgrounds give the class away, and what a few drawn boxes do about it."""
