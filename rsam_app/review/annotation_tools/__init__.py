"""Rectangles to and from Label Studio and CVAT."""
