"""Finds the objects in training images that have no box."""
