"""`rsam download`: download a card's files, verify them, and make the card's root, complete or not at all."""

from rsam_app.data.download.release import Downloaded, download_card

__all__ = ["Downloaded", "download_card"]
