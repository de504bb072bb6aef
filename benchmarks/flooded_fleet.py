"""A small fleet of which one device floods, by turns with quiet: what the others feel, and what the monitor reads.

    python -m benchmarks.flooded_fleet FOLDER PLAN [--firewall]

A real Mosquitto as `fieldloop broker up` hardens it, TLS and a certificate for each, a monitor with its default limits,
ordinary devices with a window each fifth of a second. PLAN names the phases in their order, as in
``quiet=quiet:0,flood=windows:12500000``: a name, a kind of flood, and its bytes a second at most. ``--firewall`` loads
the rule that `fieldloop broker render` writes: run it in a network of its own (``unshare --user --map-root-user
--net``). It prints one line of JSON, `Found`.
"""

import contextlib
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Final

import msgspec
from msgspec import Struct

from benchmarks.fleet_load import FLEET, name_of
from broker.identity.names import Role
from broker.servers.firewall import render_firewall
from broker.topics import DeviceId, Topic
from edge_agent.clock import SystemClock
from tests.fleet_broker import Credentials, TestFleet
from tests.waiting import wait_until
from trainer.monitoring.floods import FloodReports
from trainer.monitoring.rates import RateLimit, Rates
from trainer.monitoring.receiver import Monitor
from trainer.monitoring.store import Store, open_store, store_uri

ORDINARY: Final = 20
WINDOW_S: Final = 0.2
# As an agent does by default.
RESEND_S: Final = 10.0
PHASE_S: Final = 6.0
# After a phase, until what it left behind is through.
SETTLING_S: Final = 3.0
DEADLINE_S: Final = 60.0
SEED: Final = 1
FLOODER: Final = DeviceId("press-1")
QUIET: Final = "quiet"

Span = tuple[float, float]


class Phase(Struct, frozen=True):
    """Some seconds of quiet, or of a kind of flood; phases of one name are told of together."""

    name: str
    kind: str = QUIET
    bytes_per_s: float = 0.0


class Found(Struct, frozen=True):
    """What was measured.

    Attributes:
        delays_s: of each phase's name, from an ordinary device's window to its mark.
        sent: messages of the flooding device, by phase.
        read: how many of them the monitor read.
        allowed: how many it may read: what its bucket holds, and what that was filled by meanwhile.
        dropped: how many it dropped unread, counted and told.
        alerts: the devices that people were told of.
        kept: windows of ordinary devices that were never stored.
    """

    delays_s: dict[str, list[float]]
    sent: dict[str, int]
    read: int
    allowed: float
    dropped: int
    alerts: list[str]
    kept: int


class _Answer(Struct, frozen=True):
    """What a program that takes part told: of the load, how many are up, and at its end; of a flood, what was sent."""

    up: int = 0
    messages: int = 0
    kept: int = 0
    delays_s: tuple[tuple[float, float], ...] = ()


class CountingRates(Rates):
    """A monitor's limits, which count what they let through of the device that floods."""

    read = 0

    def takes(self, topic: Topic, size_bytes: int) -> bool:
        """Decide as ever."""
        is_taken = super().takes(topic, size_bytes)
        self.read += is_taken and topic.device == FLOODER
        return is_taken


def run(folder: Path, plan: Sequence[Phase], *, with_firewall: bool) -> Found:
    """Run the phases of a plan."""
    fleet = TestFleet(folder, FLEET)
    (folder / "ca.pem").write_bytes(fleet.folder.ca.read_bytes())
    for name in (*map(name_of, range(ORDINARY)), FLOODER):
        _join(fleet.issue(Role.DEVICE, name), folder / f"{name}.pem")
    service = fleet.issue(Role.TRAINER, "loop")
    clock = SystemClock()
    with contextlib.closing(open_store(store_uri(folder / "fleet.db"))) as store, fleet.broker() as broker:
        endpoint = broker.process.endpoint
        if with_firewall:
            subprocess.run(["nft", "-f", "-"], input=render_firewall(endpoint.port).encode(), check=True)
        tls = service.context()
        monitor = Monitor(endpoint, FLEET, store, clock=clock, rng=random.Random(SEED), tls=tls)
        monitor.receiver.rates = rates = CountingRates(RateLimit(), clock.monotonic_s)
        began_s = time.monotonic()
        monitor.start()
        wait_until(lambda: monitor.client.is_connected, DEADLINE_S)
        place = [endpoint.host, str(endpoint.port)]
        load_command = ["fleet_load", *place, str(folder), str(ORDINARY), str(WINDOW_S), str(RESEND_S)]
        flood_command = ["flooding_device", *place, str(folder / "ca.pem"), str(folder / f"{FLOODER}.pem"), FLOODER]
        with _running(load_command) as load, _running(flood_command) as flooder:
            assert load.answer().up == ORDINARY
            spans, sent = _pass_phases(plan, flooder)
            load.say("")
            end = load.answer()
        monitor.close()
        allowed = RateLimit().burst_messages + RateLimit().messages_per_s * (time.monotonic() - began_s)
        delays_s = {name: _within(spans[name], end.delays_s) for name in spans}
        return _found(store, rates, delays_s, sent, allowed, end.kept)


def _found(
    store: Store,
    rates: CountingRates,
    delays_s: dict[str, list[float]],
    sent: dict[str, int],
    allowed: float,
    kept: int,
) -> Found:
    over = rates.take_over_rate()
    alerts = FloodReports(store, SystemClock()).report(over)
    dropped = sum(each.messages for each in over if each.device == FLOODER)
    scopes = [alert.scope.removeprefix("device:") for alert in alerts]
    return Found(delays_s, sent, rates.read, allowed, dropped, scopes, kept)


def _pass_phases(plan: Sequence[Phase], flooder: "_Program") -> tuple[dict[str, list[Span]], dict[str, int]]:
    """Return from when to when each kind of phase went, and how many messages were sent in it."""
    spans: dict[str, list[Span]] = {}
    sent: dict[str, int] = {}
    for phase in plan:
        time.sleep(SETTLING_S)
        begin_s = time.monotonic()
        if phase.kind == QUIET:
            time.sleep(PHASE_S)
        else:
            flooder.say(f"{phase.kind} {PHASE_S} {phase.bytes_per_s}")
            sent[phase.name] = sent.get(phase.name, 0) + flooder.answer().messages
        spans.setdefault(phase.name, []).append((begin_s, time.monotonic()))
    return spans, sent


def _within(spans: Sequence[Span], delays: Sequence[tuple[float, float]]) -> list[float]:
    return [delay_s for made_s, delay_s in delays if any(begin_s <= made_s < end_s for begin_s, end_s in spans)]


def _join(who: Credentials, path: Path) -> None:
    """Write certificate and key into one file, as the load wants them."""
    path.touch(0o600)
    path.write_bytes(who.certificate.read_bytes() + who.key.read_bytes())


class _Program:
    """One that is told lines, and answers by lines of JSON."""

    def __init__(self, told: IO[str], answers: IO[str]) -> None:
        self._told = told
        self._answers = answers

    def say(self, line: str) -> None:
        self._told.write(f"{line}\n")
        self._told.flush()

    def answer(self) -> _Answer:
        return msgspec.json.decode(self._answers.readline(), type=_Answer)


@contextlib.contextmanager
def _running(command: Sequence[str]) -> Iterator[_Program]:
    whole = [sys.executable, "-m", f"benchmarks.{command[0]}", *command[1:]]
    with subprocess.Popen(whole, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield _Program(process.stdin, process.stdout)
        process.stdin.close()


def _parse(text: str) -> Phase:
    name, _, how = text.partition("=")
    kind, _, bytes_per_s = how.partition(":")
    return Phase(name, kind, float(bytes_per_s))


def main(arguments: Sequence[str]) -> None:
    """Run a plan."""
    folder, phases, *others = arguments
    found = run(Path(folder), [_parse(each) for each in phases.split(",")], with_firewall="--firewall" in others)
    print(msgspec.json.encode(found).decode(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
