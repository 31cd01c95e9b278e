"""From image files to pixels: scanning, decoding, masks, and the cache of decoded images."""
