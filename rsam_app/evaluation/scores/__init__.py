"""Scores of each image's rectangle, 0 fine … 1 wrong, one per file; docs/scores.md compares them."""
