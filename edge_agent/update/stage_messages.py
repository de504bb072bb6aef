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
    """

    bundle: BundleRef
    url: str
    root: str
    metadata: str
    slot: str
    prefer: tuple[str, ...]
    timeout_s: float
    spare_disk_bytes: int


class StageReport(Struct, frozen=True):
    """What came of it; the fields after `reason` are set when it is ``proved``.

    Attributes:
        may_pass: it is ``refused``, and yet the same order may be carried out later.
    """

    outcome: Outcome
    reason: str
    variant: str = ""
    manifest_sha256: str = ""
    size_bytes: int = 0
    choice: str = ""
    may_pass: bool = False
