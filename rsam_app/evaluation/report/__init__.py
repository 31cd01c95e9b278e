"""The evaluation report: one HTML page with plots and a gallery."""
