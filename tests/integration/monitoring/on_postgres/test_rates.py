from tests.unit.trainer.monitoring.test_rates import *  # noqa: F403 - the same tests, on another database
