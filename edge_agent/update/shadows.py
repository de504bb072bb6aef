"""Takes orders for a bundle in the shadow, and keeps in the record what becomes of them.

A shadow uses the slot that is free, by the same way there as an update: fetched, verified, its golden rows run. It is
asked for by somebody who is there, so nothing of it is tried again, and any update goes before it.
"""

from collections.abc import Callable
from typing import Final

from broker.messages import Desired
from edge_agent.update import record as transitions
from edge_agent.update.ledger import Ledger
from edge_agent.update.record import Content
from edge_agent.update.stage_messages import StageReport
from edge_agent.update.states import State
from edge_agent.update.wishes import WishAnswer

KIND = "shadow"
# How the reason of the event begins that tells of its end.
ENDED: Final = "ended: "
# What a device answers that is to end a shadow and has none.
NO_SHADOW: Final = "there is no shadow"


class Shadows:
    """The shadows of one device, one at a time; used by the thread of the updater."""

    def __init__(
        self,
        ledger: Ledger,
        model: str,
        *,
        is_waiting: Callable[[], bool],
        fetch: Callable[[Desired, int], None],
        cancel_fetching: Callable[[], None],
    ) -> None:
        """Join the parts.

        Args:
            ledger: keeps what is true.
            model: name of the bundles that this device takes.
            is_waiting: tells whether an order to run a bundle waits.
            fetch: has a bundle fetched for the shadow, which ends after so many rows.
            cancel_fetching: ends that.
        """
        self._ledger = ledger
        self._model = model
        self._is_waiting = is_waiting
        self._fetch = fetch
        self._cancel_fetching = cancel_fetching

    @property
    def content(self) -> Content | None:
        """What is to score in the shadow; None: nothing."""
        record = self._ledger.record
        return record.candidate if record.state is State.SHADOW else None

    def start(self, order: Desired, rows: int) -> WishAnswer:
        """Have a bundle fetched and proved, to score in the shadow; it takes the place of another one.

        Args:
            order: the bundle.
            rows: it ends after so many; 0: never.
        """
        record = self._ledger.record
        if order.bundle.name != self._model:
            return WishAnswer(accepted=False, reason=f"this device takes bundles named {self._model!r}")
        if record.active is None or record.active.bundle == order.bundle:
            return WishAnswer(accepted=False, reason="a shadow needs another bundle that scores beside it")
        is_free = record.state in {State.IDLE, State.SHADOW} or record.shadow_rows is not None
        if not is_free or self._is_waiting():
            return WishAnswer(accepted=False, reason=f"an update is under way ({record.state.value}); try again")
        if record.shadow_rows is not None:
            self.end(f"{order.bundle} takes its place")
        self._fetch(order, rows)
        return WishAnswer(accepted=True, reason="")

    def begin(self, report: StageReport) -> None:
        """Take what came of fetching and proving it."""
        order = self._ledger.record.order
        if report.outcome != "proved" or order is None:
            self.end(report.reason, severity="warning")
            return
        content = Content(order.bundle, report.variant, report.manifest_sha256)
        changed = transitions.shadowed(self._ledger.record, content)
        self._ledger.save(self._ledger.with_event(changed, KIND, f"{report.variant} begins; {report.reason}"))

    def worked(self) -> None:
        """Take note that it was at work for a while."""
        record = self._ledger.record
        if record.state is State.SHADOW and record.starts > 0:
            self._ledger.believe(transitions.shadow_proved_itself(record))

    def end(self, reason: str, *, severity: str = "info") -> WishAnswer:
        """Have no bundle score in the shadow any more, nor be fetched for it."""
        record = self._ledger.record
        if record.shadow_rows is None:
            return WishAnswer(accepted=False, reason=NO_SHADOW)
        self._cancel_fetching()
        changed = transitions.shadow_ended(record)
        told = f"{ENDED}{reason}"
        self._ledger.believe(self._ledger.with_event(changed, KIND, told, severity=severity, order=record.order))
        return WishAnswer(accepted=True, reason="")
