"""What others feel of a device that floods: their windows' way from the device to the monitor's mark and back.

Run by bench_wire.py; `benchmarks.flooded_fleet` measures. All of it is on this one machine, the flooding device too: it
takes processor time from the others that it would not take in the field. Once without any rule of the firewall, where a
device floods as fast as a link of 100 Mbit/s lets it, and then as fast as the broker reads; once with the rule that
`fieldloop broker render` writes, in a network of its own, as fast as it gets.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pytest

from benchmarks.conftest import RecordRatio
from benchmarks.flooded_fleet import FLOODER, QUIET, Found, Phase
from benchmarks.flooding_device import ACKNOWLEDGED, LARGE, WINDOWS
from broker.servers.mosquitto import find_mosquitto

ROUNDS: Final = int(os.environ.get("FIELDLOOP_BENCH_FLOODS", "2"))
FAST_ETHERNET: Final = 12_500_000
UNBOUND: Final = 1_000_000_000_000
P99: Final = 0.99
# The first flood of all: the monitor reads what its bucket holds for a device that comes back after weeks.
OPENING: Final = "opening"
REACH: Final = 2.0
_NAMES: Final = {
    WINDOWS: "windows of QoS 0",
    ACKNOWLEDGED: "windows of QoS 1",
    LARGE: "messages of 1 MiB",
    OPENING: "windows of QoS 0 for its first seconds",
}
_MS_PER_S: Final = 1000
_OWN_NETWORK: Final = ("unshare", "--user", "--map-root-user", "--net")
_SYSTEM_FOLDERS: Final = ("/usr/local/sbin", "/usr/sbin", "/sbin")


@pytest.mark.timeout(600)
def bench_the_others_while_a_device_floods_by_a_link_of_100_mbit(tmp_path: Path, record_ratio: RecordRatio) -> None:
    """Faster than any of our boards; what is dropped and told is counted here as well."""
    found = _measure(tmp_path, _by_turns(FAST_ETHERNET))
    assert found.kept == 0
    _record(record_ratio, found, "at 100 Mbit/s", (WINDOWS, ACKNOWLEDGED, LARGE, OPENING))
    record_ratio(
        "messages of the device that floods that the monitor reads / that its limits allow",
        ours=found.read,
        peer=found.allowed,
        reach=1.0,
        unit="messages",
        runs=1,
    )
    flooded = sum(found.sent.values())
    record_ratio(
        "messages of that device that the monitor drops unread, counts and tells of / that were sent",
        ours=found.dropped,
        peer=flooded,
        reach=0.5,
        unit="messages",
        runs=1,
        higher_is_better=True,
    )
    assert found.alerts == [FLOODER]


@pytest.mark.timeout(600)
def bench_the_others_while_a_device_floods_as_fast_as_the_broker_reads(
    tmp_path: Path, record_ratio: RecordRatio
) -> None:
    """On this machine that is some 30 MB/s, which a device at an Ethernet of 1 Gbit/s can send."""
    # Quiet first: what such a flood leaves behind is through after half a minute only.
    found = _measure(tmp_path, [*[Phase(QUIET)] * (ROUNDS + 1), Phase(ACKNOWLEDGED, ACKNOWLEDGED, UNBOUND)])
    assert found.kept == 0
    _record(record_ratio, found, "as fast as the broker reads, without our rule of the firewall", (ACKNOWLEDGED,))


@pytest.mark.timeout(600)
def bench_the_others_while_a_device_floods_behind_our_rule_of_the_firewall(
    tmp_path: Path, record_ratio: RecordRatio
) -> None:
    if not _has_networks_of_its_own():
        pytest.skip("no network of one's own, or no nft here: sudo apt-get install nftables")
    found = _measure(tmp_path, _by_turns(UNBOUND), with_firewall=True)
    assert found.kept == 0
    _record(record_ratio, found, "as fast as our rule of the firewall lets it", (WINDOWS, ACKNOWLEDGED, LARGE))


def _by_turns(bytes_per_s: int) -> list[Phase]:
    turn = [Phase(QUIET), *(Phase(kind, kind, bytes_per_s) for kind in (LARGE, ACKNOWLEDGED, WINDOWS))]
    return [Phase(OPENING, WINDOWS, bytes_per_s), *turn * ROUNDS]


def _measure(folder: Path, plan: Sequence[Phase], *, with_firewall: bool = False) -> Found:
    if find_mosquitto() is None:
        pytest.skip("no mosquitto here: sudo apt-get install mosquitto")
    phases = ",".join(f"{phase.name}={phase.kind}:{phase.bytes_per_s}" for phase in plan)
    command = [sys.executable, "-m", "benchmarks.flooded_fleet", str(folder), phases]
    if with_firewall:
        command = [*_OWN_NETWORK, "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command, "--firewall"]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=_environment()).stdout
    return msgspec.json.decode(answer.splitlines()[-1], type=Found)


def _record(record_ratio: RecordRatio, found: Found, how: str, phases: Sequence[str]) -> None:
    quiet_ms = _p99_ms(found.delays_s[QUIET])
    for phase in phases:
        record_ratio(
            f"p99 from an ordinary device's window to its mark, while another floods with {_NAMES[phase]} {how} "
            "/ while none does",
            ours=_p99_ms(found.delays_s[phase]),
            peer=quiet_ms,
            reach=REACH,
            unit="ms",
            runs=len(found.delays_s[phase]),
        )


def _p99_ms(delays_s: Sequence[float]) -> float:
    return float(np.quantile(delays_s, P99)) * _MS_PER_S


def _environment() -> dict[str, str]:
    """Return our environment with the folders in which Debian has what only root needs as a rule."""
    return os.environ | {"PATH": os.pathsep.join((os.environ.get("PATH", ""), *_SYSTEM_FOLDERS))}


def _has_networks_of_its_own() -> bool:
    """Tell whether this user may make a network of its own, and rules in it."""
    if shutil.which("unshare") is None:
        return False
    trial = [*_OWN_NETWORK, "sh", "-c", "ip link set lo up && nft list ruleset"]
    return subprocess.run(trial, check=False, capture_output=True, env=_environment()).returncode == 0
