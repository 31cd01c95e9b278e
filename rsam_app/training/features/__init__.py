"""Feature maps of a pretrained backbone, to discover objects in and, if it is frozen, to train on."""
