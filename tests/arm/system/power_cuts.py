"""Cuts a board's power again and again in the midst of updates; says what must not be: the empty list is the only good.

Before every cut the board must have come back from the one before: connected, and scoring further than ever. Most cuts
come at a random moment of an update that was just ordered, to a good bundle, to one that fails its trial, back to the
first; some in the midst of a start. After each, the card's file systems are looked at.

A cut loses what the guest had in its memory. What it had given to its disk is there: unlike the cuts of tests.crash,
these lose no part of what was written and not flushed.
"""

import random
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from broker.messages import Desired
from edge_agent.clock import SystemClock
from edge_agent.update.record import Record
from edge_agent.update.slots import read_record
from tests.arm.system.board import Board
from tests.arm.system.world import CardWorld
from tests.crash.findings import Finding, answers_that_do_not_fit, rows_that_do_not_fit
from tests.crash.witness import DEVICE
from tests.waiting import wait_until

BOOT_S: Final = 600.0
UPDATE_S: Final = 600.0
BOOT_LASTS_S: Final = 20.0
CUTS_IN_A_START: Final = 0.2
MORE_ROWS: Final = 40
RUNS_ALREADY: Final = "it runs already"
_CLOCK: Final = SystemClock()


@dataclass
class Ordeal:
    """What came of the cuts.

    Attributes:
        states: in which state of an update the board's record was at each cut.
    """

    cuts: int = 0
    in_a_start: int = 0
    states: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)


def survive_power_cuts(
    world: CardWorld,
    board: Board,
    cuts: int,
    chance: random.Random,
    on_cut: Callable[[int, str], None] = lambda _n, _what: None,
) -> Ordeal:
    """Cut the power of a board so often, then let it come to rest.

    Args:
        world: its fleet.
        board: runs, and has scored.
        cuts: how many.
        chance: decides when.
        on_cut: told the number of each cut and what the board was in the midst of.
    """
    ordeal = Ordeal()
    pause = threading.Event()
    try:
        _wait_until_it_scores(world, board)
        update_lasts_s = _length_of_an_update(world)
        for cut in range(1, cuts + 1):
            in_a_start = cut > 1 and chance.random() < CUTS_IN_A_START
            if in_a_start:
                pause.wait(chance.uniform(0.0, BOOT_LASTS_S))
            else:
                _wait_until_it_scores(world, board)
                world.order(world.bundles[cut % len(world.bundles)])
                pause.wait(chance.uniform(0.0, update_lasts_s))
            board.cut_power()
            state = _look_at(board, ordeal, world)
            ordeal.cuts += 1
            ordeal.in_a_start += in_a_start
            ordeal.states[state] += 1
            on_cut(cut, f"{state}{', in a start' if in_a_start else ''}")
            board.start()
        _wait_until_it_scores(world, board)
        last = world.order(world.bundles[1])
        wait_until(lambda: _has_settled(world, last), UPDATE_S, f"{last.bundle} is committed")
        _wait_until_it_scores(world, board)
    except AssertionError as error:
        ordeal.findings.append(Finding("not back", f"after cut {ordeal.cuts}: {error}; {board.account()}"))
    if not board.stop():
        ordeal.findings.append(Finding("not back", f"it does not stop: {board.account()}"))
        board.cut_power()
    _look_at(board, ordeal, world)
    ordeal.findings += [Finding("twice", f"another record came under {key}") for key in world.witness.conflicts]
    ordeal.findings += rows_that_do_not_fit(world.witness)
    kept = board.take_state(board.folder)
    ordeal.findings += answers_that_do_not_fit(kept / "answers.jsonl", world.witness.windows(DEVICE))
    return ordeal


def _wait_until_it_scores(world: CardWorld, board: Board) -> None:
    """Wait for rows that no window counted before, sent by the board that runs now."""
    rows = world.witness.rows(DEVICE)
    wait_until(
        lambda: world.witness.rows(DEVICE) >= rows + MORE_ROWS,
        BOOT_S,
        f"it scores beyond row {rows} (start {board.starts})",
    )


def _length_of_an_update(world: CardWorld) -> float:
    """Have the board switch to another good bundle, and return how long that took, in seconds."""
    one, two, _ = world.bundles
    began_s = _CLOCK.monotonic_s()
    order = world.order(one if world.witness.windows(DEVICE)[-1].bundle == two else two)
    wait_until(lambda: _has_settled(world, order), UPDATE_S, f"{order.bundle} is committed")
    return _CLOCK.monotonic_s() - began_s


def _has_settled(world: CardWorld, order: Desired) -> bool:
    status = world.witness.status(DEVICE)
    is_told = any(event.order_id == order.order_id for event in world.witness.events(DEVICE, "committed"))
    return is_told and status is not None and status.online and status.update_state == "idle"


def _forgotten_commits(world: CardWorld, record: Record | None) -> list[Finding]:
    """Find what the board told as committed and does not know of any more; an order for what ran already is none."""
    events = world.witness.events(DEVICE, "committed")
    told = len({event.order_id for event in events if not event.reason.startswith(RUNS_ALREADY)})
    known = 0 if record is None else record.commits
    return [Finding("wrong bundle", f"{told} commits were told, the record knows {known}")] if told > known else []


def _look_at(board: Board, ordeal: Ordeal, world: CardWorld) -> str:
    """Note what is wrong with a card; return in which state its update is."""
    ordeal.findings += [Finding("damaged", damage) for damage in board.damages()]
    folder = board.folder / "seen"
    folder.mkdir()
    state = board.take_state(folder)
    record = read_record(state)
    if record is None and (state / "update.json").exists():
        ordeal.findings.append(Finding("damaged", "update.json is torn"))
    if (state / "spool.db.damaged").exists():
        ordeal.findings.append(Finding("damaged", "the spool was put aside"))
    ordeal.findings += _forgotten_commits(world, record)
    shutil.rmtree(folder)
    return "none" if record is None else record.state.value
