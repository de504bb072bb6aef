"""The list of what an image is made of: Debian's packages, wheels and the agent, as SPDX 2.3 in JSON.

https://spdx.github.io/spdx-spec/v2.3/
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from email.parser import Parser
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec
from msgspec import Struct

_TOOL: Final = "Tool: fieldloop-image-build"
_UNSAID: Final = "NOASSERTION"
_IDENTIFIER: Final = re.compile(r"[^A-Za-z0-9.-]")


class Component(Struct, frozen=True, order=True):
    """A package in an image.

    Attributes:
        kind: ``deb`` or ``pypi``, as package URLs call them.
        source: the source package that it was built from; empty: of the same name.
        supplier: who maintains it; empty: unsaid.
    """

    kind: str
    name: str
    version: str
    architecture: str = ""
    source: str = ""
    supplier: str = ""

    def url(self, suite: str) -> str:
        """Return its package URL (https://github.com/package-url/purl-spec)."""
        name, version = quote(self.name, safe=""), quote(self.version, safe="")
        if self.kind != "deb":
            return f"pkg:{self.kind}/{name}@{version}"
        return f"pkg:deb/debian/{name}@{version}?arch={self.architecture}&distro={suite}"


def parse_components(text: str) -> tuple[Component, ...]:
    """Return the installed packages of dpkg's ``status``, sorted; a paragraph without a state counts as installed."""
    found = []
    for paragraph in text.split("\n\n"):
        fields = _fields(paragraph)
        if "Package" in fields and fields.get("Status", "install ok installed").endswith(" installed"):
            found.append(
                Component(
                    "deb",
                    fields["Package"],
                    fields["Version"],
                    fields.get("Architecture", "all"),
                    fields.get("Source", ""),
                    fields.get("Maintainer", ""),
                )
            )
    return tuple(sorted(found))


def wheels_in(folder: Path) -> tuple[Component, ...]:
    """Return the Python packages in a folder that pip installed into, sorted."""
    found = []
    for place in folder.glob("*.dist-info/METADATA"):
        about = Parser().parsestr(place.read_text(encoding="utf-8"), headersonly=True)
        found.append(Component("pypi", about["Name"], about["Version"]))
    return tuple(sorted(found))


def spdx_document(
    name: str, suite: str, components: Iterable[Component], snapshot: Iterable[str], time_s: int
) -> bytes:
    """Return the document.

    Args:
        name: of the image.
        suite: of Debian.
        components: all that is in it.
        snapshot: lines that say as of when Debian's archive was.
        time_s: of its making, UTC seconds since 1970.
    """
    components = tuple(components)
    about = "\n".join(each.url(suite) for each in components)
    digest = hashlib.sha256(f"{name}\n{about}\n{time_s}".encode()).hexdigest()
    packages = [_package(each, suite) for each in components]
    document = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"urn:sha256:{digest}",
        "comment": "Debian's archive, as its release files say: " + "; ".join(snapshot),
        "creationInfo": {
            "created": f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%dT%H:%M:%SZ}",
            "creators": [_TOOL],
        },
        "packages": packages,
        "relationships": [
            {
                "spdxElementId": "SPDXRef-DOCUMENT",
                "relationshipType": "DESCRIBES",
                "relatedSpdxElement": package["SPDXID"],
            }
            for package in packages
        ],
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def _package(each: Component, suite: str) -> Mapping[str, object]:
    source, _, version = each.source.partition(" ")
    built = f"built from {source} {version.strip('()') or each.version}" if source else ""
    return {
        "SPDXID": "SPDXRef-" + _IDENTIFIER.sub("-", f"{each.kind}-{each.name}-{each.architecture}".rstrip("-")),
        "name": each.name,
        "versionInfo": each.version,
        "supplier": f"Organization: {each.supplier}" if each.supplier else _UNSAID,
        "downloadLocation": _UNSAID,
        "filesAnalyzed": False,
        "licenseConcluded": _UNSAID,
        "licenseDeclared": _UNSAID,
        "copyrightText": _UNSAID,
        **({"sourceInfo": built} if built else {}),
        "externalRefs": [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": each.url(suite),
            }
        ],
    }


def _fields(paragraph: str) -> dict[str, str]:
    return dict(_pairs(paragraph))


def _pairs(paragraph: str) -> Iterator[tuple[str, str]]:
    for line in paragraph.splitlines():
        if line[:1].isspace():
            continue
        key, colon, value = line.partition(":")
        if colon:
            yield key, value.strip()
