"""The lock of a production run through an MLflow server: a claim that is renewed as long as its holder lives.

As for promotions, a claim is a version of a reserved model, whose numbers the server gives out one by one; the lowest
that lives holds. All times are the server's: it writes down when a claim was made, and when it was last changed.
"""

from contextlib import suppress
from typing import Final

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from edge_agent.clock import Clock
from trainer.registry.holder import holder_text
from trainer.registry.lock import CLAIMS_SUFFIX
from trainer.registry.tracking import told

# A claim that was not renewed for so long is of somebody who died.
CLAIM_S: Final = 60.0
_RENEW_S: Final = 15.0
# What a request may take that was begun while the claim was ours.
_WRITE_S: Final = 10.0
_NO_SOURCE: Final = "fieldloop:/run-claim"
_RUNS: Final = "--runs"


class RunClaim:
    """The claim of one model's runs."""

    def __init__(self, client: MlflowClient, name: str, clock: Clock) -> None:
        self._client, self._clock = client, clock
        # It ends as those of promotions do: such names are no models of the registry.
        self._claims = f"{name}{_RUNS}{CLAIMS_SUFFIX}"
        self._mine: ModelVersion | None = None
        self._renewed_s = 0.0

    def take(self) -> str:
        """Claim; return who has an earlier claim that lives, empty: nobody.

        Raises:
            RegistryError: the server cannot be asked.
        """
        self.release()
        asked_s = self._clock.monotonic_s()
        with told("take the claim of a run"):
            try:
                self._client.create_registered_model(
                    self._claims, tags={"fieldloop.claims": "true"}, description="Who runs: Fieldloop keeps this."
                )
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            mine = self._client.create_model_version(self._claims, _NO_SOURCE, description=holder_text())
            now_ms = mine.creation_timestamp
            claims = self._client.search_model_versions(f"name='{self._claims}'", max_results=1000)
        before = [claim for claim in claims if int(claim.version) < int(mine.version)]
        for claim in sorted(before, key=lambda one: int(one.version)):
            if now_ms - (claim.last_updated_timestamp or claim.creation_timestamp) <= CLAIM_S * 1000:
                self._delete(mine)
                return str(claim.description)
        for dead in before:
            self._delete(dead)
        self._mine, self._renewed_s = mine, asked_s
        return ""

    def is_held(self) -> bool:
        """Renew the claim where it is time; tell whether it is still there, and was never too old."""
        if self._mine is None:
            return False
        age_s = self._clock.monotonic_s() - self._renewed_s
        if age_s < _RENEW_S:
            return True
        asked_s = self._clock.monotonic_s()
        try:
            self._client.update_model_version(self._claims, self._mine.version, description=holder_text())
        except MlflowException:
            # A server that is away for a moment takes nothing from us; one that forgot the claim has.
            return age_s < CLAIM_S - _WRITE_S and self._is_there()
        self._renewed_s = asked_s
        # Renewed too late, it may have been taken for dead by somebody who has not deleted it yet.
        return age_s < CLAIM_S - _WRITE_S

    def release(self) -> None:
        """Give the claim back."""
        mine, self._mine = self._mine, None
        if mine is not None:
            self._delete(mine)

    def _is_there(self) -> bool:
        try:
            self._client.get_model_version(self._claims, self._mine.version if self._mine else "")
        except MlflowException as error:
            return bool(error.error_code != "RESOURCE_DOES_NOT_EXIST")
        return True

    def _delete(self, claim: ModelVersion) -> None:
        # It ends by its age, if not now.
        with suppress(MlflowException):
            self._client.delete_model_version(claim.name, claim.version)
