"""What each command does, from its inputs to its result."""
