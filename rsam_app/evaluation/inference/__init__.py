"""Inference: logits, rectangles, features and score columns for a set of images."""
