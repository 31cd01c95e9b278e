"""The demo: the whole loop on a generated dataset, and what it finds of what was planted."""
