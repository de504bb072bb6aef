"""Keeps the story: its state, every decision with its evidence, what people were told, and who watches it live."""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from broker.topics import FleetId
from edge_agent.clock import Clock
from trainer.continuous.story import Happening, Story, advance
from trainer.monitoring.alerts import Alert, AlertSink
from trainer.monitoring.fleet import last_window_number
from trainer.monitoring.ledger import evidence_json, load_story, record_decision, save_story
from trainer.monitoring.outcomes import last_sample_number
from trainer.monitoring.store import Store

FLEET = "fleet"


class StoryEvent(Struct, frozen=True):
    """One turn of the story, for people and for a live display.

    Attributes:
        kind: what happened: a happening of ``story``, ``rolling_out``, ``rollout`` or ``alert``.
        facts: a JSON value.
    """

    at_utc_s: float
    kind: str
    text: str
    facts: Any


class Books:
    """The story of one fleet in the store."""

    def __init__(
        self,
        store: Store,
        fleet: FleetId,
        clock: Clock,
        alerts: AlertSink,
        on_story: Callable[[StoryEvent], None] | None,
    ) -> None:
        self._store = store
        self._fleet = fleet
        self._clock = clock
        self._alerts = alerts
        self._on_story = on_story

    def load(self) -> Story:
        """Return the story as it stands; a new one at the beginning."""
        state = load_story(self._store, self._fleet)
        return Story() if state is None else msgspec.json.decode(state, type=Story)

    def save(self, story: Story) -> None:
        """Keep the story."""
        save_story(self._store, self._fleet, msgspec.json.encode(story))

    def turn(self, story: Story, happening: Happening, text: str, facts: object) -> Story:
        """Move the story on: keep the new state, write down why, and say so; return the new story."""
        turned = advance(
            story,
            happening,
            now_utc_s=self._clock.utc_s(),
            window=last_window_number(self._store),
            sample=last_sample_number(self._store),
        )
        # The order is the safety: a cut between them repeats the decision, and loses no evidence.
        self.decide("story", FLEET, turned.state.value, text, {"happening": happening.value, "facts": facts})
        self.save(turned)
        self.say(happening.value, text, facts)
        return turned

    def decide(self, kind: str, scope: str, verdict: str, reason: str, evidence: object) -> None:
        """Write down a decision and what it rests on."""
        record_decision(
            self._store,
            kind=kind,
            at_utc_s=self._clock.utc_s(),
            scope=scope,
            verdict=verdict,
            reason=reason,
            evidence=evidence,
        )

    def tell(self, kind: str, scope: str, text: str, evidence: object) -> None:
        """Alert people, and write down that they were."""
        self.decide("alert", scope, kind, text, evidence)
        self._alerts.send(Alert(self._clock.utc_s(), kind, scope, text, msgspec.json.decode(evidence_json(evidence))))
        self.say("alert", text, {"kind": kind, "scope": scope})

    def say(self, kind: str, text: str, facts: object) -> None:
        """Tell whoever watches live."""
        if self._on_story is not None:
            self._on_story(StoryEvent(self._clock.utc_s(), kind, text, msgspec.json.decode(evidence_json(facts))))
