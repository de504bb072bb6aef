from tests.unit.trainer.continuous.conftest import *  # noqa: F403 - its fixtures
from tests.unit.trainer.continuous.test_loop import *  # noqa: F403 - the same tests, on another database
