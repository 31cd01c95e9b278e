"""Public releases, one file each, as they come from their makers."""
