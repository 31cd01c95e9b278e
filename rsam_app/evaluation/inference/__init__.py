"""A model's outputs for a set of images: logits, rectangles, features and score columns."""
