"""How many examples the fuzzing tries: 100 of each test, or 1,000 with ``POISE_FAULTS=full``."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

FULL = os.environ.get("POISE_FAULTS") == "full"

settings.register_profile(
    "faults",
    max_examples=1000 if FULL else 100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture],
)
