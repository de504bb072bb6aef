"""Has a bundle fetched and proved by a process of its own, into the slot that is free."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from edge_agent.clock import Clock
from edge_agent.mailbox import file_in_inbox
from edge_agent.settings import RepositorySettings
from edge_agent.update.ledger import Ledger
from edge_agent.update.slots import SlotStore, end_proving
from edge_agent.update.stage_messages import StageOrder, StageReport

logger = logging.getLogger(__name__)

METADATA_FOLDER: Final = "tuf"
_DAY_S: Final = 86400.0


class Staging(Protocol):
    """A bundle being fetched and proved elsewhere."""

    def poll(self) -> StageReport | None:
        """Return what came of it, None while it is at work."""
        ...

    def cancel(self) -> None:
        """End it."""
        ...


StartStaging = Callable[[StageOrder, float, Clock], Staging]


class Fetching:
    """The staging of one device, one bundle at a time; used by the thread of the updater."""

    def __init__(
        self,
        settings: RepositorySettings,
        prefer: tuple[str, ...],
        store: SlotStore,
        state: Path,
        *,
        ledger: Ledger,
        start_staging: StartStaging,
        clock: Clock,
    ) -> None:
        """Join the parts.

        Args:
            settings: the update repository, and how long to wait for it.
            prefer: names of variants, best first.
            store: the slots.
            state: the device's state folder.
            ledger: keeps what is true.
            start_staging: starts the process that fetches and proves.
            clock: monotonic, for the process's bound.
        """
        self._settings = settings
        self._prefer = prefer
        self._store = store
        self._state = state
        self._ledger = ledger
        self._start_staging = start_staging
        self._clock = clock
        self._staging: Staging | None = None

    @property
    def is_at_work(self) -> bool:
        """Whether a process was started, of which nothing is known yet."""
        return self._staging is not None

    def start(self) -> None:
        """Begin with the order of the record, in place of what is under way.

        Raises:
            OSError: the process cannot be started.
        """
        self.cancel()
        record = self._ledger.record
        desired, slot = record.order, record.roles.candidate
        if desired is None or slot is None:
            return
        end_proving(self._store.folder(slot))
        logger.info("order %s: fetching %s into slot %s", desired.order_id, desired.bundle, slot)
        order = StageOrder(
            bundle=desired.bundle,
            url=self._settings.url,
            root=self._settings.root,
            metadata=str(self._state / METADATA_FOLDER),
            slot=str(self._store.folder(slot)),
            prefer=self._prefer,
            timeout_s=self._settings.timeout_s,
            spare_disk_bytes=self._settings.spare_disk_bytes,
            bases=self._bases(),
            min_bytes_per_s=self._settings.min_bytes_per_s,
            carried=str(file_in_inbox(self._state, record.carried)) if record.carried else "",
            carried_grace_s=self._settings.carried_grace_days * _DAY_S,
        )
        self._staging = self._start_staging(order, self._settings.stage_timeout_s, self._clock)

    def poll(self) -> StageReport | None:
        """Return what came of it, once."""
        report = self._staging.poll() if self._staging is not None else None
        if report is not None:
            self._staging = None
        return report

    def cancel(self) -> None:
        """End what is under way."""
        if self._staging is not None:
            self._staging.cancel()
            self._staging = None

    def stop(self) -> None:
        """End what is under way, because the agent ends: the next start goes on with it."""
        if self._staging is None:
            return
        self.cancel()
        slot = self._ledger.record.roles.candidate
        if slot is not None:
            # We ended it ourselves: nothing died of its proofs.
            end_proving(self._store.folder(slot))

    def _bases(self) -> tuple[str, ...]:
        """Return the folders whose files the repository may describe the ordered ones by: what was committed."""
        roles = self._ledger.record.roles
        return tuple(str(self._store.folder(slot)) for slot in (roles.active, roles.previous) if slot is not None)
