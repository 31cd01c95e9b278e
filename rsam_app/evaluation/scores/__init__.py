"""Scores of each image's rectangle, 0 fine … 1 wrong: one question, one file. docs/scores.md compares them."""
