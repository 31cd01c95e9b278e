"""Discovery of objects in training images without boxes."""
