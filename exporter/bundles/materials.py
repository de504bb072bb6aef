"""Reads the bill of materials of a bundle, and compares it with the manifest."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from edge_agent.bundle import MAX_JSON_DEPTH, MAX_JSON_VALUES, MAX_SBOM_BYTES, SBOM_NAME, BundleFile, Manifest
from edge_agent.errors import BundleError
from edge_agent.strict_json import verify_json
from exporter.bundles.source import BundleSource


class Hash(Struct, frozen=True):
    """A checksum of a component."""

    alg: str
    content: str


class Component(Struct, frozen=True, rename={"bom_ref": "bom-ref"}):
    """The parts of a component that are read back."""

    type: str
    name: str
    version: str = ""
    bom_ref: str = ""
    purl: str = ""
    scope: str = "required"
    hashes: Annotated[tuple[Hash, ...], Meta(max_length=16)] = ()


class _Subject(Struct, frozen=True):
    component: Component


class Sbom(Struct, frozen=True):
    """The parts of a bill of materials that are read back."""

    bomFormat: Literal["CycloneDX"]  # noqa: N815 - the standard's names
    specVersion: Literal["1.6"]  # noqa: N815
    serialNumber: str  # noqa: N815
    metadata: _Subject
    components: Annotated[tuple[Component, ...], Meta(max_length=1024)]

    def components_of(self, kind: str) -> tuple[Component, ...]:
        """Return the components of a type: ``file`` (the variants) or ``library``."""
        return tuple(component for component in self.components if component.type == kind)


_DECODER: Final = msgspec.json.Decoder(Sbom)


def parse_sbom(data: bytes) -> Sbom:
    """Read a bill of materials.

    Raises:
        BundleError: too large, or not CycloneDX 1.6 in JSON.
    """
    if len(data) > MAX_SBOM_BYTES:
        raise BundleError(f"{SBOM_NAME} of {len(data)} bytes refused unread, at most {MAX_SBOM_BYTES} are allowed")
    verify_json(data, SBOM_NAME, max_depth=MAX_JSON_DEPTH, max_values=MAX_JSON_VALUES)
    try:
        return _DECODER.decode(data)
    except msgspec.MsgspecError as error:
        raise BundleError(f"{SBOM_NAME}: {error}") from error


def verify_sbom(manifest: Manifest, sbom: Sbom) -> None:
    """Check that a bill of materials is that of a bundle: its model, and every variant with its hash.

    Raises:
        BundleError: it is of something else.
    """
    subject = sbom.metadata.component
    found = (subject.type, subject.name, subject.version)
    if found != ("machine-learning-model", manifest.name, str(manifest.version)):
        raise BundleError(f"{SBOM_NAME}: is of {' '.join(found)}, and not of the model {manifest.ref}")
    listed = {
        each.name: [each_hash.content for each_hash in each.hashes if each_hash.alg == "SHA-256"]
        for each in sbom.components_of("file")
    }
    expected = {variant.file: [variant.sha256] for variant in manifest.variants}
    for name in sorted(listed.keys() | expected.keys()):
        if listed.get(name) != expected.get(name):
            raise BundleError(f"{SBOM_NAME}: does not list {name} as the manifest does: {listed.get(name)}")


def load_sbom(bundle: BundleSource) -> Sbom | None:
    """Return the bill of materials of a bundle, None where the bundle was made without.

    Raises:
        BundleError: it is not the one that the manifest names, or not CycloneDX 1.6.
    """
    attached = bundle.manifest.sbom
    if attached is None:
        return None
    return parse_sbom(b"".join(bundle.chunks(BundleFile(attached.file, attached.size_bytes, attached.sha256))))
