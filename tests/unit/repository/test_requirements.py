"""What installs Fieldloop: pinned, hashed, agreeing with pyproject.toml, and naming no source of packages."""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# File in requirements/ -> extras and groups that it was compiled from.
COMPILED = {
    "demo.txt": (("all",), ("build",)),
    "dev.txt": (("all", "dev"), ("build",)),
    "agent.txt": ((), ()),
    "agent-onnx.txt": (("agent-onnx",), ()),
    "agent-tflite.txt": (("agent-tflite",), ()),
    "registry-ui.txt": (("registry-ui",), ()),
    "triton.txt": (("triton",), ()),
    "feast.txt": (("feast",), ("build",)),
    "mlserver.txt": (("mlserver",), ("build",)),
    "kubeflow.txt": (("kubeflow",), ()),
    "kubeflow-build.txt": ((), ("kubeflow-build",)),
    "build.txt": ((), ("build",)),
    "onnx2tf.txt": (("onnx2tf",), ()),
}
PIN = re.compile(r"^(?P<name>[a-z0-9][a-z0-9.-]*)==(?P<version>[^ ;\\]+)(?: ;(?P<marker>[^\\]+))? \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}(?: \\)?$")
# Hosts and folders that a lock file may leak, written in pieces, for this file is searched too.
ADDRESSES = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\b" + r"py" + r"pi\b[./-]?(?:org|io|python)",
        r"python" + r"hosted",
        r"registry\." + r"npm" + r"js",
        r"deb\." + r"debian\.org",
        r"files\." + r"python",
        r"proxy\." + r"golang",
        r"(?:^|[\s\"'=])--?(?:extra-)?index-" + r"url[ =]\S*:",
        r"find-" + r"links[ =]+\S*[:/]",
        r"file:///" + r"(?:opt|home|root|tmp)",
    )
]


@pytest.fixture(scope="module")
def project(repository: Path) -> dict[str, Any]:
    return tomllib.loads((repository / "pyproject.toml").read_text())


def pins(path: Path) -> dict[str, set[str]]:
    """Versions by name; a name has several where they differ by Python."""
    found: dict[str, set[str]] = {}
    for line in path.read_text().splitlines():
        match = PIN.match(line)
        if match:
            found.setdefault(match["name"], set()).add(match["version"])
    return found


def declared(project: dict[str, Any], extras: tuple[str, ...], groups: tuple[str, ...]) -> list[Requirement]:
    """Requirements of extras and groups, with the extras that an extra of ours names followed."""
    waiting = [Requirement(line) for line in project["project"]["dependencies"] if extras or not groups]
    for group in groups:
        waiting += map(Requirement, project["dependency-groups"][group])
    to_follow = list(extras)
    while to_follow:
        for line in project["project"]["optional-dependencies"][to_follow.pop()]:
            requirement = Requirement(line)
            if requirement.name == project["project"]["name"]:
                to_follow += requirement.extras
            else:
                waiting.append(requirement)
    return waiting


def tracked_files(repository: Path) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=repository,
        capture_output=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("no git checkout: the files that belong to the project are not known")
    return [repository / name for name in listed.stdout.decode().split("\0") if name]


def addresses_in(text: str) -> list[str]:
    return [match[0] for pattern in ADDRESSES for match in [pattern.search(text)] if match]


def test_every_requirements_file_is_known_here(repository: Path) -> None:
    assert {path.name for path in (repository / "requirements").glob("*.txt")} == set(COMPILED)


@pytest.mark.parametrize("name", sorted(COMPILED))
def test_every_line_is_a_pin_a_hash_or_a_comment(repository: Path, name: str) -> None:
    hashes = 0
    expects_hash = False
    for number, line in enumerate((repository / "requirements" / name).read_text().splitlines(), 1):
        if expects_hash:
            assert HASH.match(line), f"{name}:{number}: {line!r} is no hash"
            hashes += 1
        elif line and not line.lstrip().startswith("#"):
            assert PIN.match(line), f"{name}:{number}: {line!r} is no pin"
        expects_hash = line.endswith("\\")
    assert hashes > 0


@pytest.mark.parametrize("name", sorted(COMPILED))
def test_pins_are_what_the_extras_ask_for(repository: Path, project: dict[str, Any], name: str) -> None:
    found = pins(repository / "requirements" / name)
    for requirement in declared(project, *COMPILED[name]):
        versions = found.get(canonicalize_name(requirement.name), set())
        # Two requirements that split a package by Python have one pin each.
        split = requirement.marker is not None and len(versions) > 1
        fits = [requirement.specifier.contains(version, prereleases=True) for version in versions]
        assert any(fits), f"requirements/{name} lacks {requirement}: run make lock"
        assert split or all(fits), f"requirements/{name} has {versions} for {requirement}: run make lock"


def test_the_development_environment_is_the_demos_and_more(repository: Path) -> None:
    demo, dev = (pins(repository / "requirements" / name) for name in ("demo.txt", "dev.txt"))
    assert {name: dev.get(name) for name in demo} == demo


def test_mlflows_page_is_of_the_version_that_writes_its_store(repository: Path) -> None:
    demo, page = (pins(repository / "requirements" / name) for name in ("demo.txt", "registry-ui.txt"))
    assert page["mlflow"] == page["mlflow-skinny"] == demo["mlflow-skinny"]


def test_a_device_installs_no_training_library_and_no_cryptography(repository: Path) -> None:
    heavy = {
        "scikit-learn",
        "pandas",
        "mlflow-skinny",
        "onnx",
        "skl2onnx",
        "rich",
        "typer",
        "cryptography",
        "sqlalchemy",
    }
    for name in ("agent-onnx.txt", "agent-tflite.txt"):
        assert not heavy & pins(repository / "requirements" / name).keys()


def test_tflite_runtime_gets_the_numpy_that_it_was_built_for(repository: Path) -> None:
    text = (repository / "requirements" / "agent-tflite.txt").read_text()
    assert re.search(r"^tflite-runtime==2\.14\.\d+ ; python_full_version < '3\.12'", text, re.MULTILINE)
    assert re.search(r"^numpy==1\.26\.\d+ ; python_full_version < '3\.12'", text, re.MULTILINE)


def test_what_builds_the_project_is_pinned_too(project: dict[str, Any]) -> None:
    assert project["build-system"]["requires"] == project["dependency-groups"]["build"]


def test_every_dependency_is_explained(repository: Path, project: dict[str, Any]) -> None:
    explained = {
        canonicalize_name(row.split("|")[1].strip())
        for row in (repository / "docs" / "dependencies.md").read_text().splitlines()
        if row.startswith("|")
    }
    extras = tuple(project["project"]["optional-dependencies"])
    wanted = {canonicalize_name(each.name) for each in declared(project, extras, tuple(project["dependency-groups"]))}
    assert wanted - explained == set(), "a row in docs/dependencies.md for each"


def test_no_file_names_where_packages_come_from(repository: Path) -> None:
    found = {}
    for path in tracked_files(repository):
        if path.is_file() and not path.is_symlink() and path.stat().st_size < 5_000_000:
            addresses = addresses_in(path.read_bytes().decode(errors="ignore"))
            if addresses:
                found[str(path.relative_to(repository))] = addresses
    assert not found


@pytest.mark.parametrize(
    "line",
    [
        "https://" + "py" + "pi.org/simple",
        "https://files." + "python" + "hosted.org/packages/x.whl",
        "--index-" + "url https://mirror.example/simple",
        "--extra-index-" + "url=http://10.0.0.1/simple",
        "find-" + "links = /opt/wheels",
        "file:///" + "opt/wheels",
    ],
)
def test_an_address_of_packages_would_be_found(line: str) -> None:
    assert addresses_in(f"a comment\n{line}\n")
