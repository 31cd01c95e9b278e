"""The FiftyOne dataset: its schema, fields and samples."""
