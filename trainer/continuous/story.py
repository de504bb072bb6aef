"""The story of one fleet as a table: where it stands, what may happen there, and what follows. Pure.

A pair that is not in the table is a mistake and raises. The shell (`loop`) keeps the new state first and acts then, so
that a monitor that is killed anywhere finds in the store what it was about to do.
"""

import enum
from collections.abc import Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from broker.messages import BundleRef
from broker.topics import DeviceId
from trainer.errors import TrainerError


class State(enum.Enum):
    """Where the story of a fleet stands."""

    WATCHING = "watching"  # looking for signs
    ASKED = "asked"  # devices were asked for labels that confirm or clear
    COLLECTING = "collecting"  # a loss is confirmed: labelled rows to learn from are gathered
    RUNNING = "running"  # a production run learns from them
    ROLLING_OUT = "rolling_out"  # its bundle goes to the devices
    COOLING_DOWN = "cooling_down"  # nothing is asked, so that the fleet shows what it does now


class Happening(enum.Enum):
    """What moves the story on."""

    SIGN = "sign"
    TRIGGERED = "triggered"
    CONFIRMED = "confirmed"
    CLEARED = "cleared"
    SKEWED = "skewed"
    LABELS_MISSING = "labels_missing"
    GATHERED = "gathered"
    PROMOTED = "promoted"
    WAITS = "waits"  # it passed the gate, and a person must approve it: devices keep what they run
    REFUSED = "refused"
    BROKE_OFF = "broke_off"
    ROLLED_OUT = "rolled_out"
    HALTED = "halted"
    BUNDLE_CHANGED = "bundle_changed"
    COOLED = "cooled"


class ImpossibleHappeningError(TrainerError):
    """Something happened that cannot happen in this state: a mistake in this program."""


TABLE: Final[Mapping[tuple[State, Happening], State]] = {
    (State.WATCHING, Happening.SIGN): State.ASKED,
    (State.WATCHING, Happening.TRIGGERED): State.RUNNING,
    (State.ASKED, Happening.CONFIRMED): State.COLLECTING,
    (State.ASKED, Happening.CLEARED): State.COOLING_DOWN,
    (State.ASKED, Happening.SKEWED): State.COOLING_DOWN,
    (State.ASKED, Happening.LABELS_MISSING): State.COOLING_DOWN,
    (State.ASKED, Happening.BUNDLE_CHANGED): State.COOLING_DOWN,
    (State.COLLECTING, Happening.GATHERED): State.RUNNING,
    (State.COLLECTING, Happening.LABELS_MISSING): State.COOLING_DOWN,
    (State.COLLECTING, Happening.BUNDLE_CHANGED): State.COOLING_DOWN,
    (State.COLLECTING, Happening.BROKE_OFF): State.COOLING_DOWN,
    (State.WATCHING, Happening.BROKE_OFF): State.COOLING_DOWN,
    (State.RUNNING, Happening.PROMOTED): State.ROLLING_OUT,
    (State.RUNNING, Happening.WAITS): State.COOLING_DOWN,
    (State.RUNNING, Happening.REFUSED): State.COOLING_DOWN,
    (State.RUNNING, Happening.BROKE_OFF): State.COOLING_DOWN,
    (State.ROLLING_OUT, Happening.ROLLED_OUT): State.COOLING_DOWN,
    (State.ROLLING_OUT, Happening.HALTED): State.COOLING_DOWN,
    (State.COOLING_DOWN, Happening.COOLED): State.WATCHING,
}


class Story(Struct, frozen=True):
    """The story as it is kept.

    Attributes:
        number: of the turn of the loop that it is about; grows with each ask to confirm.
        began_utc_s: when that turn began.
        entered_utc_s: when the state was entered.
        entered_window, entered_sample: numbers of the last stored window and sample at that time; what came before
            was used up by the state before, and is not judged again.
        judged_window: number of the last window that was looked at for signs.
        bundle: that the fleet runs, and that is judged.
        onset_utc_s: rows scored before it show no sign of the loss: a run does not learn from them.
        round: how many asks to gather were sent; `round_window`: number of the last stored window at the last of them.
        gathered: labelled rows at the last look, and `gathered_window`: of the last window when they last grew.
        trigger: what the run was wanted for: ``deterioration``, ``schedule`` or ``labels``.
        reason: why a run was wanted, in one sentence.
        ran_utc_s: when the last run began, or when the fleet was first looked at: what triggers a run came since then.
        new_bundle: folder of the bundle that the run made.
        told: what people were told and still holds, so that they are told once.
    """

    state: State = State.WATCHING
    number: int = 0
    began_utc_s: float = 0.0
    entered_utc_s: float = 0.0
    entered_window: int = 0
    entered_sample: int = 0
    judged_window: int = 0
    bundle: BundleRef | None = None
    onset_utc_s: float = 0.0
    round: int = 0
    round_window: int = 0
    gathered: int = 0
    gathered_window: int = 0
    trigger: str = "deterioration"
    reason: str = ""
    ran_utc_s: float = 0.0
    new_bundle: str = ""
    told: tuple[str, ...] = ()

    @property
    def token(self) -> str:
        """Name of this turn of the loop: of its run and of its rollout.

        It names the time too: the runs' folders may outlive a database.
        """
        return f"mend-{self.number}-{int(self.began_utc_s)}"

    @property
    def ask_id(self) -> str:
        """Name of the ask to confirm, or to gather in the present round."""
        rounds = f"-{self.round}" if self.round else ""
        return f"ask-{self.number}-{int(self.began_utc_s)}{rounds}"


def next_state(state: State, happening: Happening) -> State:
    """Return the state that follows; raise ImpossibleHappeningError for a pair that is not in the table."""
    try:
        return TABLE[state, happening]
    except KeyError:
        msg = f"story {state.value!r}: {happening.value!r} cannot happen here"
        raise ImpossibleHappeningError(msg) from None


def advance(story: Story, happening: Happening, *, now_utc_s: float, window: int, sample: int) -> Story:
    """Return the story after something happened.

    Args:
        story: as it stands.
        happening: what happened.
        now_utc_s: when.
        window: number of the last stored window.
        sample: number of the last stored sample.
    """
    return replace(
        story,
        state=next_state(story.state, happening),
        entered_utc_s=now_utc_s,
        entered_window=window,
        entered_sample=sample,
        judged_window=window,
    )


def is_cooled(windows: Mapping[DeviceId, int], online: frozenset[DeviceId], wanted: int) -> bool:
    """Tell whether every device that is there has sent its windows since.

    A device that is online and sends nothing does not hold up the others for more than twice that time again.

    Args:
        windows: by device, those that came since the state was entered.
        online: devices that are there.
        wanted: windows of each device.
    """
    if wanted == 0:
        return True
    most = max(windows.values(), default=0)
    waited_for = [device for device in online if windows.get(device, 0) < wanted]
    return most >= wanted and (not waited_for or most >= 3 * wanted)


def is_overdue(windows: Mapping[DeviceId, int], patience: int) -> bool:
    """Tell whether labels should have come: some device has sent ``patience`` windows meanwhile."""
    return max(windows.values(), default=0) >= patience


def split_ask(rows: int, devices: frozenset[DeviceId]) -> dict[DeviceId, int]:
    """Split an ask over devices as evenly as it goes, by name where it does not; nobody is asked for nothing."""
    if not devices or rows <= 0:
        return {}
    share, rest = divmod(rows, len(devices))
    parts = {device: share + (index < rest) for index, device in enumerate(sorted(devices))}
    return {device: n for device, n in parts.items() if n > 0}
