"""Checks everything that can be checked about a bundle: form, manifest, files, bill of materials, golden rows."""

import tempfile
from pathlib import Path

from msgspec import Struct

from edge_agent.bundle import bundle_files
from edge_agent.errors import AgentError, BundleError
from exporter.bundles.golden_run import Verdict, run_golden
from exporter.bundles.materials import load_sbom, verify_sbom
from exporter.bundles.source import BundleSource, read_bundle, write_files


class Check(Struct, frozen=True):
    """One thing that was checked.

    Attributes:
        verdict: ``unproven`` where it cannot be checked here.
    """

    what: str
    verdict: Verdict
    detail: str


class Proof(Struct, frozen=True):
    """What was found, in the order in which it was checked; the first wrong thing about the files ends the checks."""

    bundle: str
    checks: tuple[Check, ...]

    def having(self, verdict: Verdict) -> tuple[Check, ...]:
        """Return the checks that came out so."""
        return tuple(check for check in self.checks if check.verdict == verdict)

    @property
    def failure(self) -> BundleError | None:
        """The error that the checks end with; None where nothing is wrong."""
        wrong = self.having("wrong")
        return BundleError(f"{self.bundle}: {wrong[0].what}: {wrong[0].detail}") if wrong else None


def verify_bundle(path: Path) -> Proof:
    """Check a bundle.

    Args:
        path: its folder, or its packed file.

    Raises:
        OSError: there is no room to unpack it.
    """
    what, bundle = "form", str(path)
    checks: list[Check] = []
    try:
        with read_bundle(path, alone=True) as source, tempfile.TemporaryDirectory(prefix="fieldloop-") as name:
            bundle = str(source.manifest.ref)
            form = "plain files and nothing else" if path.is_dir() else "packed in the one form that is allowed"
            checks += [Check("form", "right", form), Check("manifest", "right", f"{bundle} agrees with itself")]
            what, folder = "files", Path(name)
            # What is scored is the copy whose hashes were checked, whatever becomes of the original meanwhile.
            write_files(source, folder)
            files = bundle_files(source.manifest)
            total = sum(file.size_bytes for file in files)
            checks.append(Check(what, "right", f"{len(files)} files, {total} bytes, each with its SHA-256"))
            what = "materials"
            checks.append(Check(what, "right", _materials_of(source)))
            checks += [_golden(folder, source, index) for index in range(len(source.manifest.variants))]
    except AgentError as error:
        checks.append(Check(what, "wrong", str(error)))
    return Proof(bundle, tuple(checks))


def _materials_of(source: BundleSource) -> str:
    sbom = load_sbom(source)
    if sbom is None:
        return "the bundle was made without a bill of materials"
    verify_sbom(source.manifest, sbom)
    n_libraries = len(sbom.components_of("library"))
    return f"CycloneDX {sbom.specVersion}: every variant with its hash, {n_libraries} libraries"


def _golden(folder: Path, source: BundleSource, index: int) -> Check:
    variant = source.manifest.variants[index]
    outcome = run_golden(folder, variant)
    return Check(variant.name, outcome.verdict, outcome.detail)
