"""A bundle's files as targets: each file itself, and the smaller forms of it that are worth their place in the list."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from tuf.api.metadata import TargetFile, Targets  # type: ignore[attr-defined] # documented there

from broker.messages import BundleRef
from edge_agent.bundle import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    Manifest,
    bundle_files,
    is_file_name,
    parse_manifest,
)
from edge_agent.durable import replace_file, sync_folder
from edge_agent.errors import BundleError
from edge_agent.update.forms import Forms
from exporter.repository.delta import compress, make_delta

TARGETS: Final = "targets"
MANIFEST: Final = "manifest"
SBOM: Final = "sbom"
# Every device that looks for a bundle reads the whole list: a form that saves less than its entry costs more than it
# saves.
_MIN_SAVING_BYTES: Final = 512


@dataclass(frozen=True, slots=True)
class BundleFiles:
    """A bundle: its manifest, and the content of its files by name, the manifest's own file among them."""

    manifest: Manifest
    files: Mapping[str, bytes]

    @property
    def manifest_sha256(self) -> str:
        """The hex SHA-256 of the manifest's file: what tells two bundles of one name apart."""
        return hashlib.sha256(self.files[MANIFEST_NAME]).hexdigest()


@dataclass(frozen=True, slots=True)
class FormSizes:
    """What a file of a bundle costs on its way to a device, in bytes; None: there is no such form."""

    file: str
    size_bytes: int
    compressed_bytes: int | None = None
    delta_bytes: int | None = None

    def __str__(self) -> str:
        """Tell it to people."""
        forms = (("compressed", self.compressed_bytes), ("as a delta from the version before", self.delta_bytes))
        told = [f"{self.size_bytes} bytes", *(f"{size} {how}" for how, size in forms if size is not None)]
        return f"{self.file}: {', '.join(told)}"


def load_bundle(folder: Path) -> BundleFiles:
    """Read a bundle's files.

    Raises:
        BundleError: the folder is not a bundle, or a file is not the one that its manifest names.
    """
    data = _read(folder / MANIFEST_NAME, MAX_MANIFEST_BYTES)
    manifest = parse_manifest(data)
    files = {MANIFEST_NAME: data}
    for file in bundle_files(manifest):
        data = _read(folder / file.name, file.size_bytes)
        if len(data) != file.size_bytes or hashlib.sha256(data).hexdigest() != file.sha256:
            raise BundleError(f"{folder / file.name} is not the file that {MANIFEST_NAME} names; export again")
        files[file.name] = data
    return BundleFiles(manifest, files)


def read_target(repository: Path, target: TargetFile) -> bytes:
    """Read a file of the repository that is listed.

    Raises:
        BundleError: it is not the file that was signed.
    """
    folder, _, name = target.path.rpartition("/")
    digest = target.hashes["sha256"]
    path = repository / TARGETS / folder / f"{digest}.{name}"
    data = _read(path, target.length)
    if hashlib.sha256(data).hexdigest() != digest:
        raise BundleError(f"{path} is not the file that was signed; publish the bundle again")
    return data


def load_published(repository: Path, listed: Targets, ref: BundleRef) -> BundleFiles:
    """Read a listed bundle's files back from the repository; raise BundleError as `read_target` does."""
    data = read_target(repository, listed.targets[f"{ref}/{MANIFEST_NAME}"])
    manifest = parse_manifest(data)
    files = {MANIFEST_NAME: data}
    for file in bundle_files(manifest):
        # What is no variant was not listed at first.
        target = listed.targets.get(f"{ref}/{file.name}")
        if target is not None:
            files[file.name] = read_target(repository, target)
    return BundleFiles(manifest, files)


def targets_of(bundle: BundleFiles, previous: BundleFiles | None) -> tuple[tuple[TargetFile, bytes], ...]:
    """Describe a bundle's files, and forms of them, as targets with their content.

    The custom part of a file lets a client choose before it downloads.

    Args:
        bundle: what is published.
        previous: what most devices run now: deltas start from its files of the same role; None: there is none.
    """
    ref = bundle.manifest.ref
    before = () if previous is None else _roles(previous.manifest)
    bases = {role: previous.files[file] for file, role in before if previous is not None and file in previous.files}
    described: list[tuple[TargetFile, bytes]] = []
    for file, role in _roles(bundle.manifest):
        data = bundle.files[file]
        target = TargetFile.from_data(f"{ref}/{file}", data, ["sha256"])
        forms, contents = _forms_of(file, data, bases.get(role), previous)
        taken = set(contents) & set(bundle.files)
        forms, contents = (Forms(), {}) if taken else (forms, contents)
        named = {key: value for key, value in msgspec.to_builtins(forms).items() if value}
        target.unrecognized_fields["custom"] = {"bundle": str(ref), "is": role} | named
        described.append((target, data))
        for name, content in contents.items():
            form = TargetFile.from_data(f"{ref}/{name}", content, ["sha256"])
            form.unrecognized_fields["custom"] = {"bundle": str(ref), "form-of": file}
            described.append((form, content))
    return tuple(described)


def drop_old_deltas(listed: Targets, newest: int) -> None:
    """Take deltas off the list that lead to versions older than the newest ones: hardly a device is on its way there.

    Args:
        listed: the bundles of one model.
        newest: of so many versions the deltas stay.
    """
    versions = sorted({int(path.split("/")[1]) for path in listed.targets})
    for path, target in tuple(listed.targets.items()):
        folder = path.rpartition("/")[0]
        deltas = (target.custom or {}).get("deltas")
        if deltas and int(path.split("/")[1]) not in versions[-newest:]:
            for name in deltas.values():
                listed.targets.pop(f"{folder}/{name}", None)
            del target.custom["deltas"]


def write_targets(repository: Path, contents: Iterable[tuple[TargetFile, bytes]]) -> None:
    """Write files where devices look for them."""
    folder = repository / TARGETS
    for target, data in contents:
        place, _, name = target.path.rpartition("/")
        path = folder / place / f"{target.hashes['sha256']}.{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, data)
        sync_folder(path.parent.parent)
    sync_folder(folder)


def sizes_of(listed: Targets, ref: BundleRef) -> tuple[FormSizes, ...]:
    """Return what a listed bundle's files cost on their way to a device."""
    sizes = []
    for path, target in listed.targets.items():
        custom = target.custom or {}
        if not path.startswith(f"{ref}/") or "is" not in custom:
            continue
        forms = msgspec.convert(custom, Forms)
        compressed = listed.targets.get(f"{ref}/{forms.compressed}")
        deltas = [listed.targets[f"{ref}/{name}"].length for name in forms.deltas.values()]
        sizes.append(
            FormSizes(
                path.rpartition("/")[2],
                target.length,
                None if compressed is None else compressed.length,
                min(deltas, default=None),
            )
        )
    return tuple(sizes)


def _roles(manifest: Manifest) -> tuple[tuple[str, str], ...]:
    """Return a bundle's files, each with what it is: the manifest, a variant by name, or the bill of materials."""
    roles = {variant.file: variant.name for variant in manifest.variants}
    return ((MANIFEST_NAME, MANIFEST), *((file.name, roles.get(file.name, SBOM)) for file in bundle_files(manifest)))


def _forms_of(
    file: str, data: bytes, base: bytes | None, previous: BundleFiles | None
) -> tuple[Forms, dict[str, bytes]]:
    """Return the forms of a file that are worth it, and their contents by name."""
    best_bytes = len(data)
    contents: dict[str, bytes] = {}
    compressed_name, deltas = None, {}
    compressed = compress(data)
    name = f"{file}.zst"
    if len(compressed) + _MIN_SAVING_BYTES <= best_bytes and is_file_name(name):
        compressed_name, best_bytes = name, len(compressed)
        contents[name] = compressed
    if base is not None and previous is not None:
        name = f"{file}.from-{previous.manifest.version}.zst"
        delta = make_delta(data, base)
        if delta is not None and len(delta) + _MIN_SAVING_BYTES <= best_bytes and is_file_name(name):
            deltas[hashlib.sha256(base).hexdigest()] = name
            contents[name] = delta
    return Forms(compressed_name, deltas), contents


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(data) > max_bytes:
        raise BundleError(f"{path}: larger than the {max_bytes} bytes that are allowed")
    return data
