"""``python -m tests.crash.campaign --cuts 10000``: cuts a device's power again and again, and reports what came of it.

Each cut is an operation of one recorded life, what the cut takes of what was not synced, and a seed for what is left to
chance. Operations are sorted by what they do to which file in which state of an update, and every sort has its turn
before any has a second one.
"""

import argparse
import itertools
import json
import logging
import random
import re
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

from edge_agent.clock import Clock, SystemClock
from tests.crash.disk import Disk, Loss
from tests.crash.findings import Finding
from tests.crash.full_disk import NEVER, FullDisks
from tests.crash.kills import survive_kills
from tests.crash.nursery import Nursery
from tests.crash.oplog import Kind, Operation
from tests.crash.recording import Recording, record
from tests.crash.recovery import Recovery, Scene
from tests.crash.shim import Shim, compile_shim
from tests.crash.world import World, open_world, quick_folder

REPORT: Final = Path("build/crash/report.json")
# What must not be, and what a report calls it.
KINDS: Final = {
    "not back": "devices_not_back",
    "lost": "devices_that_lost_records",
    "twice": "devices_with_duplicates",
    "wrong bundle": "devices_with_a_wrong_bundle",
    "damaged": "devices_with_damaged_files",
    "answers": "devices_with_wrong_answers",
}
AT_ONCE: Final = 4
KILLED_DEVICES: Final = 4
MAX_TOLD: Final = 20
TOLD_EVERY: Final = 100

logger = logging.getLogger(__name__)

_STATE = re.compile(rb'"state":"(\w+)"')
_CHANCE = re.compile(r"^(tmp|\.[\w.]+?\.)[a-z0-9_]{8}$")


@dataclass(frozen=True)
class Cut:
    """Where and how the power fails.

    Attributes:
        index: of the operation that is cut.
        sort: what that operation does, and when.
    """

    index: int
    sort: str
    loss: Loss
    seed: int


@dataclass
class Report:
    """What came of the cuts."""

    operations: int = 0
    sorts: int = 0
    cuts: Counter[str] = field(default_factory=Counter)
    losses: Counter[str] = field(default_factory=Counter)
    whole_processes: int = 0
    findings: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def count(self, cut: Cut, scene: Scene, findings: Sequence[Finding]) -> None:
        """Count one cut."""
        self.cuts[cut.sort] += 1
        self.losses[cut.loss.value] += 1
        self.whole_processes += scene.is_whole
        # A device fails once in each way.
        self.findings.update({finding.kind for finding in findings})
        self.told += [f"{cut}: {finding.kind}: {finding.told}" for finding in findings][: MAX_TOLD - len(self.told)]

    def as_json(self) -> dict[str, Any]:
        """Return it for machines."""
        by_operation: Counter[str] = Counter()
        for sort, n in self.cuts.items():
            by_operation[sort.split(" ", 1)[0]] += n
        return {
            "operations": self.operations,
            "sorts_of_operation": {"found": self.sorts, "cut": len(self.cuts)},
            "cuts": sum(self.cuts.values()),
            "cuts_by_operation": dict(by_operation),
            "cuts_by_loss": dict(self.losses),
            "whole_processes": self.whole_processes,
            **{name: self.findings[kind] for kind, name in KINDS.items()},
            "seconds": round(self.seconds, 1),
            "told": self.told,
        }


@dataclass
class Ordeal:
    """What came of something that was done to several devices.

    Attributes:
        size: how much was done: kills; or calls of one update that take room on the disk.
    """

    size: int
    devices: int = 0
    findings: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)

    def count(self, device: str, findings: Sequence[Finding]) -> None:
        """Count one device."""
        self.devices += 1
        self.findings.update({finding.kind for finding in findings})
        self.told += [f"{device}: {finding.kind}: {finding.told}" for finding in findings]

    def as_json(self) -> dict[str, Any]:
        """Return it for machines."""
        return {
            "size": self.size,
            "devices": self.devices,
            **{name: self.findings[kind] for kind, name in KINDS.items()},
            "told": self.told[:MAX_TOLD],
        }


def sorts_of(operations: Sequence[Operation], disk: Path) -> list[str | None]:
    """Return what each operation does to which file, in which state of an update; None for a note."""
    files: dict[int, str] = {}
    sorts: list[str | None] = []
    state = "new"
    for operation in operations:
        if operation.kind is Kind.NOTE:
            sorts.append(None)
            continue
        found = _STATE.search(operation.data) if operation.kind is Kind.WRITE else None
        path = operation.other if operation.kind in {Kind.RENAME, Kind.LINK} else operation.path
        if operation.kind is Kind.CREATE:
            files[operation.inode] = path
        name = path or files.get(operation.inode, "?")
        if found and _is_record(name):
            state = found.group(1).decode()
        sorts.append(f"{operation.kind.name.lower()} {_plain(name, disk)} ({state})")
    return sorts


def _is_record(name: str) -> bool:
    return PurePosixPath(name).name.startswith(".update.json.")


def _plain(name: str, disk: Path) -> str:
    """Return a file's name without what chance has put into it."""
    path = PurePosixPath(name.removeprefix(f"{disk.resolve()}/"))
    return str(path.with_name(_CHANCE.sub(r"\g<1>*", path.name))) if path.name else "."


def plan_cuts(sorts: Sequence[str | None], n_cuts: int, seed: int) -> list[Cut]:
    """Return the cuts, by rising index: all losses of all sorts in turn, then again with other operations and seeds."""
    chance = random.Random(seed)
    by_sort: dict[str, list[int]] = defaultdict(list)
    for index, sort in enumerate(sorts):
        if sort is not None:
            by_sort[sort].append(index)
    queues = [_turns(sort, indices, chance) for sort, indices in sorted(by_sort.items())]
    chance.shuffle(queues)
    in_turn = (next(queue) for queue in itertools.cycle(queues))
    return sorted(itertools.islice(in_turn, n_cuts), key=lambda cut: cut.index)


def _turns(sort: str, indices: list[int], chance: random.Random) -> Iterator[Cut]:
    """Yield cuts at one sort of operation: each of them with each loss, then all over again with other seeds."""
    for seed in itertools.count(1):
        pairs = [(index, loss) for index in indices for loss in Loss]
        chance.shuffle(pairs)
        yield from (Cut(index, sort, loss, seed) for index, loss in pairs)


def scenes(recording: Recording, cuts: Sequence[Cut], whole_every: int) -> Iterator[tuple[Cut, Scene]]:
    """Yield what each cut leaves, and what was promised by then."""
    disk = Disk(recording.disk, is_empty=True)
    promised: dict[tuple[int, int], str] = {}
    at = position = 0
    for number, cut in enumerate(cuts):
        for operation in recording.operations[at : cut.index]:
            disk.apply(operation)
            position = operation.end
            if operation.kind is Kind.NOTE:
                promised |= _promises(operation.data)
        at = cut.index
        during = recording.operations[cut.index]
        image = disk.cut(cut.loss, random.Random(f"{cut.index} {cut.loss} {cut.seed}"), during)
        yield cut, Scene(number, image, position, dict(promised), is_whole=number % whole_every == 0)


def _promises(noted: bytes) -> dict[tuple[int, int], str]:
    lines = (line.split() for line in noted.decode().splitlines())
    return {(int(epoch), int(sequence)): hashed for epoch, sequence, hashed in lines}


def cut_power(
    world: World,
    recording: Recording,
    nursery: Nursery,
    folder: Path,
    clock: Clock,
    *,
    cuts: int,
    seed: int,
    whole_every: int,
) -> Report:
    """Cut a recorded life so often, bring a device back from each cut, and report."""
    began_s = clock.monotonic_s()
    sorts = sorts_of(recording.operations, recording.disk)
    report = Report(len(recording.operations), len(set(sorts) - {None}))
    recovery = Recovery(world, recording, nursery, folder, clock)
    lock, room = threading.Lock(), threading.Semaphore(2 * AT_ONCE)

    def examine(cut: Cut, scene: Scene) -> None:
        try:
            findings = recovery.examine(scene)
        finally:
            room.release()
        for finding in findings:
            logger.warning("%s: %s: %s", cut, finding.kind, finding.told)
        with lock:
            report.count(cut, scene, findings)
            done = sum(report.losses.values())
            if done % TOLD_EVERY == 0:
                logger.info("%d of %d cuts, %d findings", done, cuts, sum(report.findings.values()))

    futures: list[Future[None]] = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for cut, scene in scenes(recording, plan_cuts(sorts, cuts, seed), whole_every):
            room.acquire()
            futures.append(pool.submit(examine, cut, scene))
            if any(future.done() and future.exception() for future in futures):
                break
    for future in futures:
        future.result()
    report.seconds = clock.monotonic_s() - began_s
    return report


def fill_disks(full_disks: FullDisks, n_disks: int) -> Ordeal:
    """Have disks run full during an update: at each call that takes room, or at so many of them."""
    findings, n_calls = full_disks.survive(NEVER)
    ordeal = Ordeal(n_calls)
    ordeal.count("disk that is not full", findings)
    turns, left = divmod(n_disks, max(1, n_calls))
    numbers = [*range(n_calls)] * turns + spread(n_calls, left)
    seeds = [1 + at // max(1, n_calls) for at in range(len(numbers))]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for number, (found, _) in zip(numbers, pool.map(full_disks.survive, numbers, seeds), strict=True):
            ordeal.count(f"disk that is full from call {number} on", found)
    return ordeal


def kill_agents(world: World, nursery: Nursery, folder: Path, clock: Clock, kills: int, seed: int) -> Ordeal:
    """Kill agents at random, some on each of several devices."""
    ordeal = Ordeal(kills)
    shares = [len(range(at, kills, KILLED_DEVICES)) for at in range(KILLED_DEVICES)]

    def survive(at: int) -> list[Finding]:
        chance = random.Random(f"{seed} {at}")
        return survive_kills(world, nursery, folder / f"killed{at}", clock, shares[at], chance)

    with ThreadPoolExecutor(KILLED_DEVICES) as pool:
        for at, found in enumerate(pool.map(survive, range(KILLED_DEVICES))):
            ordeal.count(f"device {at}, killed {shares[at]} times", found)
    return ordeal


def spread(n: int, count: int) -> list[int]:
    """Return so many of the first n numbers, evenly."""
    return sorted({at * n // count for at in range(count)})


def main() -> int:
    """Run it as a command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuts", type=int, default=10_000, help="power cuts")
    parser.add_argument("--kills", type=int, default=400, help="of agents, by SIGKILL")
    parser.add_argument("--full-disks", type=int, default=1000, help="disks that run full during an update")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--whole-every", type=int, default=50, help="each so many-th agent is a process of its own")
    parser.add_argument("--report", type=Path, default=REPORT)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logger.setLevel(logging.INFO)
    logging.getLogger("broker").setLevel(logging.ERROR)
    clock = SystemClock()
    with quick_folder() as folder, open_world(folder / "world") as world:
        shim = Shim(compile_shim(folder))
        with Nursery(shim) as nursery:
            recording = record(world, shim, folder / "recorded")
            report = cut_power(
                world,
                recording,
                nursery,
                folder,
                clock,
                cuts=options.cuts,
                seed=options.seed,
                whole_every=options.whole_every,
            )
            full_disks = FullDisks(world, recording, nursery, shim, folder, clock)
            full = fill_disks(full_disks, options.full_disks)
            killed = kill_agents(world, nursery, folder, clock, options.kills, options.seed)
    report_of_all = {
        "power_cuts": report.as_json(),
        "full_disks": full.as_json(),
        "kills": killed.as_json(),
    }
    told = json.dumps(report_of_all, indent=2)
    options.report.parent.mkdir(parents=True, exist_ok=True)
    options.report.write_text(told + "\n", encoding="utf-8")
    sys.stdout.write(told + "\n")
    return 1 if report.findings or full.findings or killed.findings else 0


if __name__ == "__main__":
    sys.exit(main())
