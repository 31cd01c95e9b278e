"""How benchmarks measure: ways that take turns, paired statistics, and what they were measured on."""
