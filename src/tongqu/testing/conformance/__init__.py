"""Holds every connector to the same promises: one line makes a test class of the checks that its abilities ask for."""

from __future__ import annotations

from tongqu.testing.conformance.kit import conformance, needs
from tongqu.testing.conformance.place import Place

__all__ = ["Place", "conformance", "needs"]
