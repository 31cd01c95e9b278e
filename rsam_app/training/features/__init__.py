"""Feature maps of a frozen backbone, which attention and classifier are trained on."""
