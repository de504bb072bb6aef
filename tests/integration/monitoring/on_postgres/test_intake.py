from tests.unit.trainer.monitoring.test_intake import *  # noqa: F403 - the same tests, on another database
