import json
from pathlib import Path

from exporter.image.build.sbom import Component, parse_components, spdx_document, wheels_in

STATUS = """\
Package: zlib1g
Status: install ok installed
Maintainer: Mark Brown <broonie@debian.org>
Architecture: arm64
Source: zlib
Version: 1:1.2.13.dfsg-1

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1

Package: bash
Status: install ok installed
Architecture: arm64
Version: 5.2.15-2+b9
Source: bash (5.2.15-2)
Description: a shell
 Version: of a text, not of a field
"""


def test_packages_that_are_installed_are_listed_sorted():
    found = parse_components(STATUS)
    assert [(each.name, each.version) for each in found] == [("bash", "5.2.15-2+b9"), ("zlib1g", "1:1.2.13.dfsg-1")]
    assert found[1].supplier.startswith("Mark Brown")


def test_a_package_without_a_state_counts():
    found = parse_components("Package: raspi-firmware\nVersion: 1.2\nArchitecture: all\n\n")
    assert found == (Component("deb", "raspi-firmware", "1.2", "all"),)


def test_wheels_are_read_from_what_pip_leaves(tmp_path: Path):
    about = tmp_path / "numpy-1.26.4.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 1.26.4\n\nName: no field\n")
    assert wheels_in(tmp_path) == (Component("pypi", "numpy", "1.26.4"),)


def test_the_document_names_each_package_by_its_url_and_is_the_same_for_the_same_image():
    components = (*parse_components(STATUS), Component("pypi", "numpy", "1.26.4"))
    text = spdx_document("press-1", "bookworm", components, ("Date: today",), 1_000_000_000)
    document = json.loads(text)
    assert document["spdxVersion"] == "SPDX-2.3"
    assert document["creationInfo"]["created"] == "2001-09-09T01:46:40Z"
    assert "Date: today" in document["comment"]
    urls = [package["externalRefs"][0]["referenceLocator"] for package in document["packages"]]
    assert urls == [
        "pkg:deb/debian/bash@5.2.15-2%2Bb9?arch=arm64&distro=bookworm",
        "pkg:deb/debian/zlib1g@1%3A1.2.13.dfsg-1?arch=arm64&distro=bookworm",
        "pkg:pypi/numpy@1.26.4",
    ]
    assert document["packages"][0]["sourceInfo"] == "built from bash 5.2.15-2"
    identifiers = [package["SPDXID"] for package in document["packages"]]
    assert len(set(identifiers)) == len(identifiers)
    assert spdx_document("press-1", "bookworm", components, ("Date: today",), 1_000_000_000) == text
