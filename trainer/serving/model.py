"""One opened model: a bundle, proved on its golden rows, with a scorer for every thread that may score.

A model that was replaced is closed when its last request has its answer: `enter` and `leave` count them.
"""

import logging
from queue import SimpleQueue

from edge_agent.bundle import MANIFEST_NAME, Manifest, Variant, parse_manifest
from edge_agent.clock import Clock
from edge_agent.scoring.device import read_device
from edge_agent.scoring.golden import verify_golden
from edge_agent.scoring.loading import open_runtime
from edge_agent.scoring.scorer import Scorer
from edge_agent.scoring.selection import choose_variant
from exporter.bundles.source import open_bundle
from trainer.serving.origin import Offer

logger = logging.getLogger(__name__)


class ServedModel:
    """A model that is ready to score; `enter`, `leave` and `retire` belong to one thread.

    Attributes:
        key: of the offer that it was opened for.
        manifest: what it takes and answers.
        variant: what runs.
        inline: the scorer of the thread that reads requests.
        workers: scorers of the threads that score what takes longer; whoever takes one puts it back.
        row_s: seconds that a row took when the golden rows were scored.
        in_flight: requests that it has not answered yet.
    """

    def __init__(self, key: str, variant: Variant, scorers: list[Scorer], row_s: float) -> None:
        """Take scorers of one variant of one bundle, two at least."""
        self.key = key
        self.manifest: Manifest = scorers[0].manifest
        self.variant = variant
        self.inline = scorers[0]
        self.workers: SimpleQueue[Scorer] = SimpleQueue()
        for scorer in scorers[1:]:
            self.workers.put(scorer)
        self.row_s = row_s
        self.in_flight = 0
        self._scorers = scorers
        self._is_retired = False

    def enter(self) -> None:
        """Count a request in: the model stays open until it has left."""
        self.in_flight += 1

    def leave(self) -> None:
        """Count a request out."""
        self.in_flight -= 1
        self._close_if_done()

    def retire(self) -> None:
        """Close it once no request is left."""
        self._is_retired = True
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._is_retired and self.in_flight == 0 and self._scorers:
            for scorer in self._scorers:
                scorer.close()
            self._scorers = []
            logger.info("%s is closed: its last request has its answer", self.manifest.ref)


def open_model(offer: Offer, n_workers: int, clock: Clock) -> ServedModel:
    """Open a bundle and prove it here, once for each scorer.

    Args:
        offer: says which.
        n_workers: threads that score beside the one that reads requests.
        clock: monotonic for the time of a row.

    Raises:
        BundleError: it is not what it must be, no variant runs here, or its golden rows come out otherwise.
        StorageError: it cannot be read now.
    """
    scorers: list[Scorer] = []
    # A packed one is unpacked only until it is open.
    with open_bundle(offer.bundle) as folder:
        manifest = parse_manifest((folder / MANIFEST_NAME).read_bytes())
        variant = choose_variant(manifest.variants, read_device())
        row_s = 0.0
        try:
            for _ in range(n_workers + 1):
                runtime = open_runtime(variant, folder, manifest)
                scorers.append(Scorer(manifest, runtime))
                began_s = clock.monotonic_s()
                verify_golden(manifest, variant, runtime)
                row_s = (clock.monotonic_s() - began_s) / len(manifest.golden)
        except Exception:
            for scorer in scorers:
                scorer.close()
            raise
    return ServedModel(offer.key, variant, scorers, row_s)
