"""Keeps the device's certificate in each round of housekeeping: looks what is due, has it done, tells what came."""

import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from broker.messages import Event
from edge_agent.clock import Clock
from edge_agent.enrolment.claim_token import read_token
from edge_agent.enrolment.identity_file import Held, read_held
from edge_agent.enrolment.messages import EnrolmentOrder, EnrolmentReport
from edge_agent.enrolment.next_step import TIME_EVERY_S, Known, Step, next_step, renewal_time_s
from edge_agent.errors import SettingsError
from edge_agent.fleet_time import FleetTime
from edge_agent.settings import AgentSettings, EnrolmentSettings

logger = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 5.0
_MAX_DOUBLINGS: Final = 16
_MAX_DETAIL: Final = 500


class Child(Protocol):
    """A step at work."""

    def poll(self) -> EnrolmentReport | None:
        """Return what became of it; None: it is at work."""
        ...

    def cancel(self) -> None:
        """End it."""


class EnrolmentDuty:
    """One device's certificate. `poll` and `stop` are called by one thread."""

    def __init__(  # noqa: PLR0913 - each is named by its caller
        self,
        settings: AgentSettings,
        enrolment: EnrolmentSettings,
        held: Held | None,
        fleet_time: FleetTime,
        *,
        start: Callable[[EnrolmentOrder, float, Clock], Child],
        use: Callable[[Held], None],
        is_connected: Callable[[], bool],
        tell: Callable[[Event], None],
        clock: Clock,
        rng: random.Random,
    ) -> None:
        """Join them.

        Args:
            settings: of the agent.
            enrolment: that part of them.
            held: the identity that the link began with.
            fleet_time: the time; learns from each answer.
            start: begins a step.
            use: called with a new identity, which is on the disk.
            is_connected: whether the link to the broker is up.
            tell: reports an event.
            clock: monotonic for pauses.
            rng: chance, so that a fleet does not come all at once.
        """
        self._settings = settings
        self._enrolment = enrolment
        self._held = held
        self._time = fleet_time
        self._start = start
        self._use = use
        self._is_connected = is_connected
        self._tell = tell
        self._clock = clock
        self._rng = rng
        self._chance = rng.random()
        self._child: Child | None = None
        self._step: Step = "time"
        self._failures = 0
        now_s = clock.monotonic_s()
        self._look_at_s = now_s
        self._retry_at_s = now_s
        # The token that lay there when a step failed: another one need not wait for the pause to end.
        self._failed_with: str | None = None
        self._up_at_s = now_s
        # What was reported last: the same again is not told.
        self._told = ""

    @property
    def held(self) -> Held | None:
        """The present identity."""
        return self._held

    def poll(self) -> None:
        """Do what is due; never waits."""
        now_s = self._clock.monotonic_s()
        if self._is_connected():
            self._up_at_s = now_s
        if self._child is not None:
            report = self._child.poll()
            if report is not None:
                self._child = None
                self._take(report)
            return
        if now_s < self._look_at_s:
            return
        self._look_at_s = now_s + LOOK_EVERY_S
        known = self._known(now_s)
        if now_s < self._retry_at_s and known.token == self._failed_with:
            return
        step = next_step(known)
        if step is not None:
            self._begin(step)

    def stop(self) -> None:
        """End what is at work: the disk has the old identity or the new one."""
        if self._child is not None:
            self._child.cancel()
            self._child = None

    def _known(self, now_s: float) -> Known:
        return Known(
            now_s=self._time.utc_s(),
            is_time_sure=self._time.learnt_within(TIME_EVERY_S),
            is_clock_behind=self._time.is_behind,
            token=self._token(),
            held=self._held,
            renews_at_s=self._renews_at_s(),
            link_down_s=now_s - self._up_at_s,
        )

    def _token(self) -> str | None:
        file = self._enrolment.token_file
        if file is None or not Path(file).exists():
            return None
        try:
            return read_token(Path(file)).label
        except SettingsError as error:
            self._tell_once(str(error))
            return None

    def _renews_at_s(self) -> float:
        return 0.0 if self._held is None else renewal_time_s(self._held, self._enrolment.renew_at, self._chance)

    def _begin(self, step: Step) -> None:
        enrolment, settings = self._enrolment, self._settings
        order = EnrolmentOrder(
            step=step,
            url=enrolment.url,
            ca=enrolment.ca,
            device=settings.device,
            fleet=settings.fleet,
            state=settings.state,
            token_file=enrolment.token_file,
            timeout_s=enrolment.timeout_s,
        )
        self._step = step
        logger.debug("enrolment: %s", step)
        # A silence of the server for each of a few answers, and a slow board's openssl.
        self._child = self._start(order, 4 * enrolment.timeout_s + 60.0, self._clock)

    def _take(self, report: EnrolmentReport) -> None:
        if report.utc_s is not None:
            self._time.learn(report.utc_s)
        if report.outcome == "done":
            self._failures = 0
            self._told = ""
            if self._step != "time":
                self._take_over(report)
            return
        self._failures += 1
        refused = report.outcome == "refused"
        self._retry_at_s = self._clock.monotonic_s() + self._pause_s(is_long=refused)
        self._failed_with = self._token()
        self._tell_once(f"{self._step} of the certificate {'refused' if refused else 'failed'}: {report.detail}")

    def _take_over(self, report: EnrolmentReport) -> None:
        held = read_held(Path(self._settings.state))
        if held is None:
            self._tell_once("the identity that was just written cannot be read")
            return
        self._held = held
        self._use(held)
        logger.info("%s", report.detail)
        self._tell(Event("certificate", self._clock.utc_s(), "info", report.detail[:_MAX_DETAIL]))

    def _pause_s(self, *, is_long: bool) -> float:
        """Return how long to wait after a failure; what was refused is asked seldom, for somebody may mend it."""
        most_s = self._enrolment.retry_max_s
        doubled_s = self._enrolment.retry_min_s * 2.0 ** min(self._failures - 1, _MAX_DOUBLINGS)
        return (most_s if is_long else min(most_s, doubled_s)) * self._rng.uniform(0.5, 1.0)

    def _tell_once(self, reason: str) -> None:
        if reason == self._told:
            return
        self._told = reason
        logger.warning("%s", reason)
        self._tell(Event("error", self._clock.utc_s(), "error", reason[:_MAX_DETAIL]))
