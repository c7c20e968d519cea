"""What holds for every test: no test fails because the machine was busy."""

from hypothesis import HealthCheck, settings

settings.register_profile("loratune", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("loratune")
