"""Tells which variant of a bundle this device runs and why: ``fieldloop-agent explain``; changes nothing."""

from pathlib import Path

import msgspec
from msgspec import Struct

from edge_agent.bundle import MANIFEST_NAME, MAX_MANIFEST_BYTES, Manifest, parse_manifest
from edge_agent.bundle_file import open_packed
from edge_agent.errors import BundleError
from edge_agent.scoring.loading import reading_error
from edge_agent.scoring.selection import Device, Verdict, choose, size_text
from edge_agent.settings import AgentSettings
from edge_agent.update.slots import SlotStore, read_record

_SUFFIX = ".json"


class Explanation(Struct, frozen=True):
    """What the rule says of one bundle on one device.

    Attributes:
        chosen: name of the variant that the rule chooses; None where none can run here.
        running: name of the variant that runs now, if the bundle is the one that does.
        runtimes: that are installed; `memory_bytes` of the board, 0 where it does not tell.
    """

    bundle: str
    architecture: str
    runtimes: tuple[str, ...]
    memory_bytes: int
    prefer: tuple[str, ...]
    chosen: str | None
    running: str | None
    variants: tuple[Verdict, ...]


def explain_running(settings: AgentSettings, device: Device) -> Explanation:
    """Explain the bundle that scores on the state folder of some settings.

    Raises:
        BundleError: there is none yet, or its manifest is none.
        StorageError: its manifest cannot be read now.
    """
    state = Path(settings.state)
    record = read_record(state)
    if record is None or record.running is None or record.running_slot is None:
        raise BundleError(f"{state}: no bundle runs yet; name a bundle: fieldloop-agent explain BUNDLE")
    folder = SlotStore(state).folder(record.running_slot)
    return explain(load_manifest(folder), device, settings.scoring.prefer, record.running.variant)


def load_manifest(path: Path) -> Manifest:
    """Read the manifest of a bundle: its folder, its ``manifest.json``, or a packed bundle.

    Raises:
        BundleError: it is none, or it is not there.
        StorageError: it cannot be read now.
    """
    if path.is_dir():
        path /= MANIFEST_NAME
    if path.suffix != _SUFFIX:
        with open_packed(path) as packed:
            return packed.manifest
    try:
        with path.open("rb") as file:
            return parse_manifest(file.read(MAX_MANIFEST_BYTES + 1))
    except OSError as error:
        raise reading_error(path, error) from error


def explain(
    manifest: Manifest, device: Device, prefer: tuple[str, ...] = (), running: str | None = None
) -> Explanation:
    """Return what the rule says of each variant."""
    choice = choose(manifest.variants, device, prefer)
    return Explanation(
        bundle=str(manifest.ref),
        architecture=device.architecture,
        runtimes=device.runtimes,
        memory_bytes=device.memory_bytes,
        prefer=prefer,
        chosen=choice.variant.name if choice.variant is not None else None,
        running=running,
        variants=choice.verdicts,
    )


def as_json(explanation: Explanation) -> str:
    """Return an explanation for machines."""
    return msgspec.json.encode(explanation).decode()


def as_text(explanation: Explanation) -> str:
    """Return an explanation for people."""
    memory = size_text(explanation.memory_bytes) if explanation.memory_bytes else "of unknown size"
    lines = [
        (
            f"device     {explanation.architecture}, memory {memory}, runtimes: "
            f"{', '.join(explanation.runtimes) or 'none installed'}"
        ),
        f"bundle     {explanation.bundle}",
    ]
    if explanation.prefer:
        lines.append(f"preferred  {', '.join(explanation.prefer)}")
    if explanation.chosen is None:
        lines.append("chosen     none: no variant can run here")
    if explanation.running not in {None, explanation.chosen}:
        lines.append(
            f"running    {explanation.running}, as chosen when it was fetched; the next bundle goes by the rule"
        )
    width = max(len(verdict.variant) for verdict in explanation.variants)
    for verdict in explanation.variants:
        word = "chosen" if verdict.chosen else "passed" if verdict.can_run else "cannot"
        lines.append(f"{word:10} {verdict.variant:{width}}  {verdict.reason}")
    return "\n".join(lines)
