"""Puts a proved bundle on trial, and ends the trial: committed, or back to what was committed before.

It decides nothing itself (``trial``); the new record is on disk before its act begins. Only the way back to what is
committed does not wait for the disk: a bundle that failed its trial must not go on because the disk is full.
"""

from collections.abc import Callable

from edge_agent.clock import Clock
from edge_agent.errors import AgentError
from edge_agent.settings import RepositorySettings
from edge_agent.update import record as transitions
from edge_agent.update.engines import Engines
from edge_agent.update.ledger import Ledger
from edge_agent.update.trial import Outcome, judge


class Trials:
    """The trials of one device, one at a time; used by the thread of the updater."""

    def __init__(
        self,
        settings: RepositorySettings,
        ledger: Ledger,
        engines: Engines,
        clock: Clock,
        read_memory: Callable[[], int | None],
    ) -> None:
        """Join the parts.

        Args:
            settings: bounds the memory of a trial.
            ledger: keeps what is true.
            engines: have bundles score.
            clock: monotonic for the length of a trial.
            read_memory: tells this process's resident memory in bytes; None: not known.
        """
        self._settings = settings
        self._ledger = ledger
        self._engines = engines
        self._clock = clock
        self._read_memory = read_memory
        self._began_s: float | None = None
        self._memory_bytes: int | None = None

    def check_staged(self) -> None:
        """At start: refuse a candidate that was proved and is no longer what was proved."""
        try:
            self._engines.load_candidate()
        except AgentError as error:
            self._ledger.refuse(str(error))

    def activate(self) -> None:
        """Take note that what was proved is on trial, and begin.

        Raises:
            OSError: that cannot be noted; nothing was begun.
        """
        content, slot = self._ledger.record.candidate, self._ledger.record.roles.candidate
        if content is None or slot is None:
            self._ledger.refuse("the proved bundle is gone")
            return
        changed = transitions.activated(self._ledger.record)
        self._ledger.save(
            self._ledger.with_event(changed, "activated", f"{content.variant} in slot {slot} is on trial")
        )
        self.begin()

    def begin(self) -> None:
        """Open the candidate and have it score; whatever keeps it from that is its failure."""
        self._began_s = self._memory_bytes = None
        try:
            engine = self._engines.open_candidate()
        except AgentError as error:
            self.fail(f"cannot run: {error}")
            return
        self._engines.offer(engine)

    def watch(self) -> None:
        """Judge the trial by what was seen of it; nothing is known as long as the candidate does not score."""
        engine, record = self._engines.offered, self._ledger.record
        if engine is None or engine.meter is None or not self._engines.offers(record.roles.candidate):
            # The agent started while its disk was full, and what is committed scores so far.
            if self._ledger.is_saved:
                self.begin()
            return
        if not self._engines.is_taken:
            return
        now_s = self._clock.monotonic_s()
        if self._began_s is None:
            self._began_s = now_s
        memory_bytes = self._read_memory()
        if memory_bytes is not None:
            self._memory_bytes = max(memory_bytes, self._memory_bytes or 0)
        elapsed_s = now_s - self._began_s
        evidence = engine.meter.evidence(record.starts, elapsed_s, self._memory_bytes)
        verdict = judge(evidence, engine.manifest.trial, self._settings.trial_max_memory_bytes)
        if verdict.outcome is Outcome.HEALTHY:
            changed = transitions.committed(record)
            self._ledger.save(self._ledger.with_event(changed, "committed", verdict.reason, order=record.order))
            engine.meter = None
            self._ledger.mark_active()
        elif verdict.outcome is Outcome.FAILED:
            self.fail(verdict.reason)

    def fail(self, reason: str) -> None:
        """End the trial: what is committed shall score again, where an agent runs."""
        # The act before the record, here alone: a cut between them repeats the trial, a full disk does not prolong it.
        self._engines.offer_committed()
        changed = transitions.failed(self._ledger.record, reason)
        told = f"to {changed.active.bundle if changed.active is not None else 'no bundle'}: {reason}"
        self._ledger.believe(
            self._ledger.with_event(changed, "rolled_back", told, severity="error", order=self._ledger.record.order)
        )

    def watch_return(self) -> None:
        """Take note that what is committed scores again, once it does.

        Raises:
            OSError: that cannot be noted now.
        """
        # Where the active bundle cannot be opened now, the one that stands in or none at all: orders may mend that.
        engine = self._engines.offered
        if self._engines.is_taken and (engine is None or engine.meter is None):
            self._ledger.save(transitions.restored(self._ledger.record))
