"""Figures over a split: accuracy, calibration, localization, rectangles."""
