from tests.unit.trainer.monitoring.test_labelled import *  # noqa: F403 - the same tests, on another database
