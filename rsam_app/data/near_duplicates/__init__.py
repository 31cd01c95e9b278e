"""Near-duplicates: images of a dataset that are the same photograph, found by their pixels without a model."""

CRITERION = (
    "by their pixels: the same photograph, also recompressed, rescaled, lighter, darker, mirrored or cropped a little"
)
"""What makes two images near-duplicates, for notes."""
