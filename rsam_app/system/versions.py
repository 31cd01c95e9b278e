"""Versions of everything that is cached or stored and would otherwise outlive a change of the code that made it.

Raise a version by one in the commit that makes older files wrong: they are then ignored and made again.
"""

DECODED_IMAGES = 3
"""Raise if the same image file decodes to other pixels: part of every key of data derived from images."""

IMAGE_SCAN = 2
"""Raise if the scan of image files records other facts."""

THUMBNAILS = 1
"""Raise if the thumbnails for the search of near-duplicates change."""

NEAR_DUPLICATES = 1
"""Raise if other images count as near-duplicates."""

ROW_CACHE = 2
"""Raise if the file layout of the row cache changes."""

FEATURE_MAPS = 1
"""Raise if a backbone's feature maps change, be it by their rounding."""

DISCOVERED_RECTANGLES = 5
"""Raise if object discovery returns other rectangles."""

SCORES = 5
"""Raise if predictions get other scores or other values of them: every run predicts again."""

CALIBRATION = 2
"""Raise if the temperature, the known classes, sure answers or their columns of the predictions change."""

METRICS = 1
"""Raise if evaluations get other figures: every run evaluates again."""

SIMULATION = 4
"""Raise if a strategy chooses other images, or a simulation has other figures: finished ones are not mixed with new."""

REVIEW_DATASET = 2
"""Raise if a run is written into FiftyOne differently."""

DERIVED_FIELDS = 2
"""Raise if fields that a review derives from predictions or images change."""

SUGGESTED_LABELS = 1
"""Raise if other labels are suggested."""

MONGODB = "6.0.27"
"""The private database server; a new version is fetched into a folder of its own."""
