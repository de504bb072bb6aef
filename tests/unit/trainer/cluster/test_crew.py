"""What a cluster's client does on a machine that stands still; with real clusters: tests/integration/dask."""

from contextlib import nullcontext

import pytest

from edge_agent.clock import SystemClock
from trainer.cluster import crew
from trainer.errors import ClusterError
from trainer.project.cluster import ClusterSection

ADDRESS = "tcp://127.0.0.1:1"


@pytest.mark.parametrize(
    ("errors", "told"),
    [
        ([AssertionError()] * 2 + [OSError("refused")], "refused"),
        ([AssertionError()] * 3, "too busy to start a thread"),
    ],
)
def test_a_thread_that_did_not_start_is_started_again(monkeypatch, errors, told):
    waiting = iter(errors)

    def open_client(*_, **__):
        raise next(waiting)

    monkeypatch.setattr(crew, "_open_client", open_client)
    section = ClusterSection(dask=ADDRESS)
    with (
        pytest.raises(ClusterError, match=told),
        crew.opened_crew(section, nullcontext, b"", clock=SystemClock(), packages=()),
    ):
        pass
    assert next(waiting, None) is None
