"""Which images of a dataset are the same photograph, and which of very many vectors lie next to each other."""

RULE = (
    "by their pixels: the same photograph, also recompressed, rescaled, lighter, darker, mirrored or cropped a little"
)
"""What makes two images near-duplicates, for notes."""
