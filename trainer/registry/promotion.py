"""Moves versions between stages: promotions and rollbacks, one at a time for a model, none of them half.

What is about to happen is written down before the aliases change, so that who comes next, under the same lock, finishes
what was cut off. Each promotion is recorded with its version: which stage, whom it displaced, by whom, by which gate.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Final

import msgspec
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from msgspec import Struct

from edge_agent.clock import Clock
from trainer.errors import RegistryError
from trainer.project.registry import CHAMPION, PREVIOUS, RegistrySection
from trainer.registry.lock import Lock, VerifyHeld

# On the registered model: the newest promotion, done or not. On a version: each that it had.
NEWEST_TAG: Final = "fieldloop.promotion"
RECORD_PREFIX: Final = "promotion."


class Promotion(Struct, frozen=True):
    """One change of a stage.

    Attributes:
        number: from 1, over all promotions of the model.
        kind: ``promotion`` or ``rollback``.
        stage: in our words, whatever the project calls it.
        version: that stands there from then on.
        before: version that stood there until then; 0: none.
        by: who did it, or approved it.
        gate: the gate's verdict on the version, at that moment.
        reason: of whoever overruled the gate; empty: nobody did.
    """

    number: int
    kind: str
    stage: str
    version: int
    before: int
    by: str
    gate: str
    reason: str
    at_utc_s: float


def refusal_of(gate: str, by: str, stage: str, section: RegistrySection, reason: str) -> str | None:
    """Say why a version may not be promoted; None: it may.

    Args:
        gate: its verdict; empty: nobody asked it.
        by: the person who promotes; empty: nobody does, a run ended.
        stage: where to.
        section: which stages a person must approve.
        reason: for which the gate is overruled; empty: it is not.
    """
    if stage == PREVIOUS:
        return f"nothing is promoted to {PREVIOUS}: a promotion to {CHAMPION} puts the champion until then there"
    if stage in section.approval and not by:
        return f"the project wants a person to approve {section.alias_of(stage)}: name one"
    if gate.startswith("refused") and not reason:
        return f"the gate {gate}; who overrules it gives a reason"
    if gate == "pending" and not reason:
        return "the gate has not judged it yet: its run goes on, or broke off"
    return None


class Promoter:
    """Promotes and takes back, under the model's lock."""

    def __init__(self, client: MlflowClient, section: RegistrySection, lock: Lock, clock: Clock) -> None:
        """Give it the store, the names of the stages, the lock of that store, and the time of records."""
        self._client = client
        self._section = section
        self._lock = lock
        self._clock = clock

    def promote(self, name: str, version: int, *, stage: str, by: str, gate: str, reason: str) -> Promotion | None:
        """Put a version into a stage; None: it stands there already."""
        with self._locked(name) as verify_held:
            last = self._settle(name, verify_held)
            before = self.aliases(name).get(self._section.alias_of(stage), 0)
            if before == version:
                return None
            made = Promotion(
                last + 1, "promotion", stage, version, before, by, gate or "not judged", reason, self._clock.utc_s()
            )
            self._carry_out(name, made, verify_held)
            return made

    def withdraw(self, name: str, version: int, stage: str) -> bool:
        """Leave a stage empty, if this version stands there; return whether it did."""
        alias = self._section.alias_of(stage)
        with self._locked(name) as verify_held:
            self._settle(name, verify_held)
            if self.aliases(name).get(alias) != version:
                return False
            verify_held()
            self._client.delete_registered_model_alias(name, alias)
            return True

    def rollback(self, name: str, by: str) -> Promotion:
        """Let champion and previous change places.

        Raises:
            RegistryError: there is no previous version.
        """
        with self._locked(name) as verify_held:
            last = self._settle(name, verify_held)
            aliases = self.aliases(name)
            previous = aliases.get(self._section.previous)
            if previous is None:
                raise RegistryError(f"model {name!r} has no previous version to go back to")
            champion = aliases.get(self._section.champion, 0)
            gate = self._client.get_model_version(name, str(previous)).tags.get("gate", "not judged")
            made = Promotion(last + 1, "rollback", CHAMPION, previous, champion, by, gate, "", self._clock.utc_s())
            self._carry_out(name, made, verify_held)
            return made

    def aliases(self, name: str) -> Mapping[str, int]:
        """Return the version of each alias of a model."""
        found = self._client.get_registered_model(name).aliases
        return {alias: int(version) for alias, version in found.items()}

    def _locked(self, name: str) -> AbstractContextManager[VerifyHeld]:
        return self._lock(name)

    def _settle(self, name: str, verify_held: VerifyHeld) -> int:
        """Finish what was cut off, and return the number of the newest promotion."""
        text = self._client.get_registered_model(name).tags.get(NEWEST_TAG)
        if text is None:
            return 0
        newest = msgspec.json.decode(text, type=Promotion)
        if self._is_recorded(name, newest):
            return newest.number
        standing = self.aliases(name).get(self._section.alias_of(newest.stage), 0)
        previous = self.aliases(name).get(self._section.previous, 0)
        # Cut off before the first alias changed, or changed by hand since: nothing happened. Champion and previous in
        # one version is only ever a promotion cut in two.
        is_half = standing == newest.version or (newest.stage == CHAMPION and standing == previous == newest.before)
        if is_half and standing:
            self._set_aliases(name, newest, verify_held)
        return newest.number

    def _is_recorded(self, name: str, newest: Promotion) -> bool:
        try:
            return _record_key(newest) in self._client.get_model_version(name, str(newest.version)).tags
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            # Somebody has deleted the version since: there is nothing to finish.
            return True

    def _carry_out(self, name: str, made: Promotion, verify_held: VerifyHeld) -> None:
        verify_held()
        self._client.set_registered_model_tag(name, NEWEST_TAG, msgspec.json.encode(made).decode())
        self._set_aliases(name, made, verify_held)

    def _set_aliases(self, name: str, made: Promotion, verify_held: VerifyHeld) -> None:
        """Set the aliases and record it; done twice it is done once."""
        section = self._section
        # The order is the safety: at no moment is there no champion, and no moment loses the version to go back to.
        changes = [(section.alias_of(made.stage), made.version)]
        if made.stage == CHAMPION and made.before:
            displaced = (section.previous, made.before)
            changes = [displaced, *changes] if made.kind == "promotion" else [*changes, displaced]
        for alias, version in changes:
            verify_held()
            self._client.set_registered_model_alias(name, alias, str(version))
        if made.stage == CHAMPION:
            standing = self.aliases(name)
            # Who becomes champion waits for nobody, and is compared with nobody, any more.
            for alias in (section.staging, section.challenger):
                if standing.get(alias) == made.version:
                    verify_held()
                    self._client.delete_registered_model_alias(name, alias)
        verify_held()
        text = msgspec.json.encode(made).decode()
        self._client.set_model_version_tag(name, str(made.version), _record_key(made), text)


def promotions_in(tags: Mapping[str, str]) -> tuple[Promotion, ...]:
    """Return the promotions that a version's tags tell of, the earliest first."""
    texts = [text for key, text in sorted(tags.items()) if key.startswith(RECORD_PREFIX)]
    return tuple(msgspec.json.decode(text, type=Promotion) for text in texts)


def _record_key(promotion: Promotion) -> str:
    return f"{RECORD_PREFIX}{promotion.number:06d}"
