from tests.unit.trainer.monitoring.test_shadows import *  # noqa: F403 - the same tests, on another database
