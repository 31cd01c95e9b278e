"""The run folder: what a pipeline execution leaves on disk."""
