"""From SIGTERM to the end of the agent's process, when all that could hold it up does.

Its spool holds what a night without a link leaves, its window has just begun, and the broker that it was connected to
by TLS has died, or is there and answers nothing: the goodbye that it would say is heard by nobody. What was scored is
durable when it ends: that is looked at after each stop.
"""

import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from benchmarks.footprint import install_bundle, unit_environment, wait_for_lines, write_settings
from benchmarks.small_bundles import SmallBundle, make_bundle
from broker.messages import Event, encode_body
from broker.topics import Channel
from edge_agent.live import SPOOL_NAME, read_live
from edge_agent.telemetry.spool import Spool
from tests.tls_broker import TlsBroker, running_tls_broker, why_not
from tests.waiting import wait_until

REACH_S: Final = 2.0
STOPS: Final = 11
WAITING_RECORDS: Final = 200
_END_S: Final = 30.0
_LOST_BY: Final = {"gone": signal.SIGKILL, "silent": signal.SIGSTOP}


@pytest.mark.parametrize("broker_is", ["gone", "silent"])
def bench_stop(broker_is, tmp_path, record_ratio) -> None:
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    bundle = make_bundle("breast_cancer", "forest", "native", tmp_path / "bundle")
    install_bundle(bundle, tmp_path / "state")
    took_s = []
    for number in range(STOPS):
        with running_tls_broker(tmp_path / f"broker-{number}") as broker:
            took_s.append(_stop_s(bundle, tmp_path, broker, _LOST_BY[broker_is]))
    for name, value in (("median", statistics.median(took_s)), ("worst", max(took_s))):
        record_ratio(
            f"SIGTERM to the end of the agent, {WAITING_RECORDS} records unsent, broker {broker_is}: {name} / 2 s",
            ours=value,
            peer=REACH_S,
            reach=1.0,
            unit="s",
            runs=STOPS,
        )


def _stop_s(bundle: SmallBundle, folder: Path, broker: TlsBroker, lost_by: signal.Signals) -> float:
    """Start an agent, take its broker away once it is connected, stop it; return how long that took."""
    settings, answers, state = (
        write_settings(folder, bundle, broker.endpoint, tls=broker),
        folder / "answers.jsonl",
        folder / "state",
    )
    answers.unlink(missing_ok=True)
    with contextlib.closing(Spool(state / SPOOL_NAME, random.Random(0))) as spool:
        spool.put([(Channel.EVENTS, encode_body(Event("error", 0.0, "error", str(n)))) for n in range(WAITING_RECORDS)])
    command = [sys.executable, "-P", "-m", "edge_agent", "run", "--settings", str(settings)]
    with (folder / "agent.log").open("ab") as log:
        agent = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=os.environ | unit_environment())
    try:
        wait_until(lambda: (live := read_live(state)) is not None and live.pid == agent.pid and live.connected, 20)
        wait_for_lines(answers, 1)
        os.kill(broker.pid, lost_by)
        began_s = time.perf_counter()
        agent.terminate()
        code = agent.wait(_END_S)
        took_s = time.perf_counter() - began_s
    finally:
        agent.kill()
        agent.wait()
    assert code == 0, (folder / "agent.log").read_text(encoding="utf-8")
    with contextlib.closing(Spool(state / SPOOL_NAME, random.Random(0))) as spool:
        last = json.loads(answers.read_bytes().splitlines()[-1])
        assert spool.cursor() == last["row"] + 1, "what was scored last is not durable"
    return took_s
