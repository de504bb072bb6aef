"""What the agent and its staging process say to each other; apart from both, so that the agent never imports TUF."""

from typing import Literal

from msgspec import Struct

from broker.messages import BundleRef

Outcome = Literal["proved", "refused", "unreachable", "storage", "crashed", "broken_off", "timed_out"]


class StageOrder(Struct, frozen=True, forbid_unknown_fields=True):
    """What the child is to do.

    Attributes:
        url, root: the update repository, and the file with the trusted root metadata.
        metadata: folder of the update metadata seen so far.
        slot: the candidate's folder; emptied first.
        prefer: names of variants, best first.
        timeout_s: longest silence of the repository.
        spare_disk_bytes: room that must be left after the download.
        bases: folders of slots with files from which a delta may start.
        min_bytes_per_s: least average rate of an answer.
        carried: an update file that stands in for the server; empty: none does.
        carried_grace_s: for so long after its expiry a list in there is believed.
    """

    bundle: BundleRef
    url: str
    root: str
    metadata: str
    slot: str
    prefer: tuple[str, ...]
    timeout_s: float
    spare_disk_bytes: int
    bases: tuple[str, ...] = ()
    min_bytes_per_s: float = 256.0
    carried: str = ""
    carried_grace_s: float = 0.0


class StageReport(Struct, frozen=True):
    """What came of it; the fields after `reason` are set when it is ``proved``.

    Attributes:
        size_bytes: of manifest and variant, as they lie in the slot.
        fetched: in which form the variant came, and how many bytes.
        may_pass: it is ``refused``, and yet the same order may be carried out later.
    """

    outcome: Outcome
    reason: str
    variant: str = ""
    manifest_sha256: str = ""
    size_bytes: int = 0
    choice: str = ""
    fetched: str = ""
    may_pass: bool = False
