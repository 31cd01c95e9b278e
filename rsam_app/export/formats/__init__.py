"""Formats of a curated subset, one file each."""
