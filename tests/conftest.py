"""What holds for every test: no test fails because the machine was busy."""

import signal

from hypothesis import HealthCheck, settings

settings.register_profile("loratune", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("loratune")

# Programs started in the background by a shell ignore Ctrl-C, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
