"""Everything, or a sample: ``make test-faults`` runs every file that imports this one, with ``POISE_FAULTS=full``."""

from __future__ import annotations

import os

import pytest

FULL = os.environ.get("POISE_FAULTS") == "full"
"""Whether everything is tried, or a sample."""

full_only = pytest.mark.skipif(not FULL, reason="of a sample; `make test-faults` runs it")
