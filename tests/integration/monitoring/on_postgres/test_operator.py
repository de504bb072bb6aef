from tests.unit.trainer.rollout.test_operator import *  # noqa: F403 - the same tests, on another database
