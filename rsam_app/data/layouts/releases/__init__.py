"""Layouts of public releases, one module each."""
