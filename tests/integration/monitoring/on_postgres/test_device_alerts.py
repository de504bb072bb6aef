from tests.unit.trainer.monitoring.test_device_alerts import *  # noqa: F403 - the same tests, on another database
