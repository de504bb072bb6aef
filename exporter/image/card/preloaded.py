"""A bundle that lies in a slot when a board starts for the first time, so that it scores before any network is there.

It lies there as what `fieldloop-agent install` leaves where no agent runs: proved, and not yet run. So it goes on trial
at the first start, which commits it or gives it up.
"""

import hashlib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

import msgspec

from broker.messages import Desired
from edge_agent.bundle import MANIFEST_NAME, Manifest, parse_manifest
from edge_agent.errors import BundleError
from edge_agent.scoring.selection import Device, choose_variant
from edge_agent.update.fetching import METADATA_FOLDER
from edge_agent.update.record import SLOTS, Content, Record, Roles, Slots
from edge_agent.update.slots import RECORD_NAME, SLOTS_FOLDER
from edge_agent.update.states import State
from exporter.image.card.description import Preloaded
from exporter.image.errors import CardError

_SLOT: Final = SLOTS[0]
_BY: Final = "card"


def chosen_variant(manifest: Manifest, device: Device, prefer: tuple[str, ...] = ()) -> str:
    """Return the variant of a bundle that a board runs, by the board's own rule.

    Raises:
        CardError: none can run there; the message says of each why.
    """
    try:
        return choose_variant(manifest.variants, device, prefer).name
    except BundleError as error:
        raise CardError(f"{manifest.ref} is not for this board: {error}") from error


def preloaded_files(bundle: Preloaded, model: str) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Yield the files of the state folder, by their path in it.

    Args:
        bundle: what is preloaded.
        model: name of the bundles that the board takes.

    Raises:
        CardError: it is another model's, or its file is not the one that its manifest names.
    """
    try:
        manifest = parse_manifest(bundle.manifest)
    except BundleError as error:
        raise CardError(f"the bundle's manifest: {error}") from error
    if manifest.name != model:
        raise CardError(f"{manifest.ref}: this board takes bundles named {model!r} (repository.model)")
    variant = next((each for each in manifest.variants if each.name == bundle.variant), None)
    if variant is None:
        raise CardError(f"{manifest.ref}: has no variant {bundle.variant!r}")
    if (len(bundle.data), hashlib.sha256(bundle.data).hexdigest()) != (variant.size_bytes, variant.sha256):
        raise CardError(f"{manifest.ref}: {variant.file} is not the file that its manifest names")
    folder = PurePosixPath(SLOTS_FOLDER) / _SLOT
    yield folder / MANIFEST_NAME, bundle.manifest
    yield folder / variant.file, bundle.data
    content = Content(manifest.ref, variant.name, hashlib.sha256(bundle.manifest).hexdigest())
    # Not by the time of day: the same inputs make the same card.
    order = Desired(manifest.ref, f"{_BY}-{content.manifest_sha256[:16]}", 0.0, _BY, "came with the card")
    record = Record(state=State.STAGED, roles=Roles(candidate=_SLOT), slots=Slots(a=content), order=order)
    yield PurePosixPath(RECORD_NAME), msgspec.json.encode(record)
    for name, data in bundle.metadata:
        yield PurePosixPath(METADATA_FOLDER) / name, data
