from tests.unit.trainer.monitoring.test_receiver import *  # noqa: F403 - the same tests, on another database
