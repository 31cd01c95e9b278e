"""Preflight: everything cheap to check is checked before anything is trained, written or deleted."""

from rsam_app.workflow.preflight.check import pass_preflight

__all__ = ["pass_preflight"]
