"""Runs one agent after the other in this process: a new one for new settings, until somebody says stop.

SIGHUP asks for the settings to be read again. Housekeeping looks at them, so that scoring does not wait for the disk:
a file that cannot be used changes nothing and is told. With one that can, the agent makes durable what it scored, says
goodbye and is closed, and another one is opened, which goes on with the same source at the same row. Whatever keeps it
from being opened, the old settings are taken again. Where the disk refuses, the agent does not even leave; where it
refuses in the midst of that, the next agent takes the old settings, and what is not durable yet, in memory.
"""

import logging
from pathlib import Path
from typing import Final

from edge_agent.clock import Clock
from edge_agent.errors import AgentError, SettingsError
from edge_agent.service.heartbeat import Heartbeat
from edge_agent.service.notify import Notifier
from edge_agent.settings import AgentSettings, load_settings, problems_here
from edge_agent.sources import problems_of_code
from edge_agent.wiring import Agent, KeptSource

# What only a reload needs is imported then: a device that starts scores first.
# ruff: noqa: PLC0415

logger = logging.getLogger(__name__)

_POSTPONED: Final = "new settings wait until the trial of the bundle has ended"

_OLD_HOLD: Final = "the new settings are not taken, the old ones hold"


class Service:
    """The agents of one settings file. `stop` and `reload` may be called by a signal's handler: they take no lock."""

    def __init__(self, path: Path, clock: Clock, notifier: Notifier, watchdog_s: float | None) -> None:
        """Read the settings; nothing is opened before `run`.

        Args:
            path: the settings file, now and at every reload.
            clock: monotonic and UTC.
            notifier: the way to the service manager.
            watchdog_s: silence after which the manager ends this process; None: it does not.

        Raises:
            SettingsError: they cannot be used.
        """
        self._path = path
        self._clock = clock
        self._notifier = notifier
        self._watchdog_s = watchdog_s
        self._settings = load_settings(path)
        self._agent: Agent | None = None
        self._is_stopping = False
        self._is_asked = False
        # Settings that the next agent takes.
        self._next: AgentSettings | None = None
        self._heartbeat: Heartbeat | None = None
        # Stands in the status until settings are good again.
        self._complaint = ""

    def run(self) -> None:
        """Score until `stop`, or until the source ends where that is the end.

        Raises:
            AgentError: the agent cannot be opened, or its source cannot be read.
        """
        source: KeptSource | None = None
        while True:
            with self._open(source) as agent:
                self._heartbeat = Heartbeat(
                    self._notifier, self._clock, self._watchdog_s, rounds=lambda: agent.rounds, text=self._text
                )
                self._agent = agent
                # A signal that came before there was an agent to tell.
                if self._is_stopping:
                    agent.stop()
                agent.run()
                self._agent = None
                source = agent.kept_source
            if source is not None and source.unkept is not None and not self._is_stopping:
                self._complain(f"{_OLD_HOLD}: the disk refuses what was scored last: {source.unkept.reason}")
                self._next = self._settings
            if self._is_stopping or self._next is None:
                break
        if source is not None:
            source.opener.close()

    def stop(self) -> None:
        """End `run` soon."""
        self._is_stopping = True
        self._notifier.stopping()
        if self._agent is not None:
            self._agent.stop()

    def reload(self) -> None:
        """Have the settings read again soon."""
        self._is_asked = True

    # --- opening -----------------------------------------------------------------------------------------------------

    def _open(self, source: KeptSource | None) -> Agent:
        """Open an agent with the newest settings that open."""
        wanted, self._next = self._next, None
        if wanted is not None and wanted is not self._settings:
            try:
                agent = Agent(wanted, self._clock, on_round=self._on_round, source=source)
            except (AgentError, OSError) as error:
                self._complain(f"the agent cannot be opened with the new settings: {error}")
            else:
                self._settings = wanted
                self._complaint = ""
                return agent
        agent = Agent(self._settings, self._clock, on_round=self._on_round, source=source)
        if self._complaint:
            agent.tell(self._complaint)
        return agent

    # --- in each round of housekeeping -------------------------------------------------------------------------------

    def _on_round(self) -> None:
        agent = self._agent
        if agent is None or self._heartbeat is None:
            return
        self._heartbeat.beat()
        if self._is_asked and self._next is None and not self._is_stopping:
            self._look_at_settings(agent)

    def _look_at_settings(self, agent: Agent) -> None:
        if agent.is_in_trial:
            # Opening an agent counts as a start, which a trial holds against its bundle.
            if self._complaint != _POSTPONED:
                self._complaint = _POSTPONED
                logger.warning("%s", _POSTPONED)
            return
        self._is_asked = False
        self._notifier.reloading(self._clock.monotonic_s())
        try:
            new = self._load_what_can_be_taken()
        except SettingsError as error:
            self._complain(f"{_OLD_HOLD}: {error}")
            agent.tell(self._complaint)
            self._notifier.ready(self._text())
            return
        from edge_agent.service.reload import change_between

        change = change_between(self._settings, new)
        refusal = agent.why_not_leave() if change.keys else ""
        if refusal:
            self._complain(f"{_OLD_HOLD}: the disk takes nothing now: {refusal}; make room, and reload again")
            agent.tell(self._complaint)
            self._notifier.ready(self._text())
            return
        self._complaint = ""
        if not change.keys:
            logger.info("%s: read again, nothing changed", self._path)
            self._notifier.ready(self._text())
            return
        logger.info("%s: takes new settings: %s", self._path, ", ".join(change.keys))
        self._next = new
        agent.leave()

    def _load_what_can_be_taken(self) -> AgentSettings:
        new = load_settings(self._path)
        from edge_agent.service.reload import change_between

        fixed = change_between(self._settings, new).fixed
        problems = [f"key {key!r}: takes a restart of the agent" for key in fixed] or [
            *problems_here(new),
            *problems_of_code(new),
        ]
        if problems:
            raise SettingsError("\n".join(f"{self._path}: {problem}" for problem in problems))
        return new

    def _complain(self, reason: str) -> None:
        self._complaint = reason
        logger.error("%s", reason)

    def _text(self) -> str:
        agent = self._agent
        does = agent.in_a_line() if agent is not None else "starting"
        return f"{does}; {self._complaint}" if self._complaint else does
