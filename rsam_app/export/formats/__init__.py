"""Formats of a curated subset, one per file."""
