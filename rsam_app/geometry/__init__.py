"""Rectangles, boxes and their overlap, in one convention: see `rsam_app.geometry.rectangles`."""
