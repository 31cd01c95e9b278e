"""The cache directory for expensive or downloaded files."""
