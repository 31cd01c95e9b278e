"""Random views of images, and the transforms that a pipeline can name."""
