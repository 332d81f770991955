"""How many examples the fuzzing tries: 50 of each test, or 1,000 with ``POISE_FAULTS=full``."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from full import FULL

settings.register_profile(
    "faults",
    max_examples=1000 if FULL else 50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture],
)
