"""Figures are looked at here."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module", autouse=True)
def unrendered() -> None:
    """Figures are rendered."""
