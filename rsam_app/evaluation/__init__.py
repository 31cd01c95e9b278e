"""Evaluation: a model's outputs as predictions and scores, and predictions as metrics and a report."""
