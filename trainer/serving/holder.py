"""Holds the model that answers, and lets the next one take over: opened and proved beside it, then one reference."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from edge_agent.clock import Clock
from edge_agent.errors import AgentError, BundleError
from edge_agent.surprises import Surprises
from trainer.errors import TrainerError
from trainer.serving.feedback.scored import Feedback
from trainer.serving.metrics import Metrics
from trainer.serving.model import ServedModel, open_model
from trainer.serving.origin import Offer, Origin

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Holder:
    """The model that answers; belongs to the thread of the event loop.

    Attributes:
        model: whom a request is given to.
        origin: says which model that shall be.
        n_workers: threads that score.
        feedback: is told who takes over; None: nobody is.
        surprises: is told of what nobody foresaw.
        refused: key of the offer that was refused last: it is not tried again while it is offered.
    """

    model: ServedModel
    origin: Origin
    n_workers: int
    clock: Clock
    metrics: Metrics
    feedback: Feedback | None = None
    surprises: Surprises = field(default_factory=lambda: Surprises(logger))
    refused: str = ""

    async def look(self) -> bool:
        """Ask what is to be served, and let it take over if it is another; return whether one did.

        Nothing is raised where the registry cannot be asked, or a version is refused: the model that answers goes on.
        """
        try:
            offer = await asyncio.to_thread(self.origin.current)
        except TrainerError as error:
            logger.warning("what is to be served cannot be told now, %s goes on: %s", self.model.key, error)
            return False
        except Exception as error:  # noqa: BLE001 - whatever a registry far away raises, scoring does not stop for it
            self.surprises.tell("asking what is to be served", error)
            return False
        if offer.key in {self.model.key, self.refused}:
            return False
        try:
            model = await asyncio.to_thread(open_model, offer, self.n_workers, self.clock)
        except (AgentError, OSError) as error:
            self._refuse(offer, error)
            return False
        self._swap(model)
        return True

    async def watch(self, every_s: float, stopping: asyncio.Event, also: Callable[[], None]) -> None:
        """Look again and again, until it is over.

        Args:
            every_s: seconds between two looks.
            stopping: ends it.
            also: is done beside each look.
        """
        while not stopping.is_set():
            try:
                await asyncio.wait_for(stopping.wait(), every_s)
            except TimeoutError:
                also()
                await self.look()

    def _swap(self, model: ServedModel) -> None:
        # The order is what no request notices: the new one stands before the old one is retired.
        old, self.model = self.model, model
        self.refused = ""
        old.retire()
        self.metrics.tell_model(model)
        self.metrics.count_swap("done")
        if self.feedback is not None:
            self.feedback.take_over(model.manifest, model.variant.name)
        logger.warning("%s took over from %s", model.key, old.key)

    def _refuse(self, offer: Offer, error: Exception) -> None:
        self.metrics.count_swap("refused")
        logger.error("%s does not take over, %s goes on: %s", offer.key, self.model.key, error)
        if self.feedback is not None:
            self.feedback.tell_refusal(f"{offer.key} does not take over, {self.model.key} goes on: {error}")
        # What only cannot be read now is tried again.
        if isinstance(error, BundleError):
            self.refused = offer.key
