"""The reviewer's decisions: read, applied and restored."""
