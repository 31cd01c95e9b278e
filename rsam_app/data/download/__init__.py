"""`rsam download`: from a card's addresses to its root, checked, complete or not there at all."""

from rsam_app.data.download.release import Downloaded, download_card

__all__ = ["Downloaded", "download_card"]
