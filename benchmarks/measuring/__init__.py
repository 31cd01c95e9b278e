"""How benchmarks measure: ways that take turns, and what they were measured on."""
