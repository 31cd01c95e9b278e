"""Attention variants on cached features of a frozen backbone."""
