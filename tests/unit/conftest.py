"""Hypothesis tries few examples for each property, because the machine is shared and slow."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "shared machine", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("shared machine")
