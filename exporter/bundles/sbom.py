"""Says what a bundle is made of, as a CycloneDX 1.6 bill of materials.

Written by hand: cyclonedx-python-lib has no model card, which is half of what there is to say. The same bundle made by
the same libraries gives the same bytes: no clock, no chance. See https://cyclonedx.org/docs/1.6/json/.
"""

import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, metadata, requires
from typing import Any, Final, TypeAlias
from urllib.parse import quote

import msgspec

from edge_agent.bundle import Manifest, Variant

Json: TypeAlias = dict[str, Any]

_OURS: Final = "fieldloop"
# Distributions by runtime: what makes its files, and what runs them on a device. A runtime not listed is our own.
_MAKERS: Final[Mapping[str, tuple[str, ...]]] = {
    "onnx": ("onnx", "onnxruntime", "protobuf", "skl2onnx"),
    "tflite": ("ai-edge-litert", "flatbuffers"),
}
_RUNTIMES: Final[Mapping[str, tuple[str, ...]]] = {
    "onnx": ("numpy", "onnxruntime"),
    "tflite": ("ai-edge-litert", "numpy", "tflite-runtime"),
}
_LEARNS_FROM_LABELS: Final = ("classification", "regression")
# Packages whose distribution has another name.
_DISTRIBUTIONS: Final[Mapping[str, str]] = {"sklearn": "scikit-learn"}
_REQUIREMENT: Final = re.compile(r"(?P<name>[\w.-]+)(?:\[[^\]]*\])?(?P<bounds>[^;]*);.*extra == ['\"]agent-")
_MAX_LICENCE: Final = 64


def packages_of(estimator: object) -> tuple[str, ...]:
    """Return the distributions that the classes of an estimator, and of those inside it, come from."""
    params: Json = getattr(estimator, "get_params", dict)()
    parts = [estimator, *(value for value in params.values() if hasattr(value, "fit"))]
    packages = {(part if isinstance(part, type) else type(part)).__module__.partition(".")[0] for part in parts}
    return tuple(sorted(_DISTRIBUTIONS.get(package, package) for package in packages))


def make_sbom(manifest: Manifest, architecture: str, learnt_with: Sequence[str] = ()) -> bytes:
    """Return the bill of materials of a bundle, as it stands in ``sbom.cdx.json``.

    Args:
        manifest: of the bundle; its own `sbom` is not looked at.
        architecture: of the model, in words.
        learnt_with: distributions that the model was trained with. Of those that are not installed nothing is known, so
            they are left out.
    """
    runtimes = {variant.runtime: _RUNTIMES.get(variant.runtime, (_OURS,)) for variant in manifest.variants}
    on_device = dict.fromkeys(name for names in runtimes.values() for name in names)
    makers = {_OURS, "numpy", *learnt_with, *(m for runtime in runtimes for m in _MAKERS.get(runtime, ()))}
    libraries = {
        name: _library(name, is_maker=name in makers, is_runtime=name in on_device)
        for name in sorted(makers | set(on_device))
        if name in on_device or _version(name)
    }
    document: Json = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": "",
        "version": 1,
        "metadata": _metadata(manifest, architecture),
        "components": [*map(_file, manifest.variants), *libraries.values()],
        "dependencies": [
            {"ref": _model_ref(manifest), "dependsOn": [_file_ref(variant) for variant in manifest.variants]},
            *(
                {"ref": _file_ref(variant), "dependsOn": [libraries[n]["bom-ref"] for n in runtimes[variant.runtime]]}
                for variant in manifest.variants
            ),
        ],
    }
    # Of its content: another content has another number, the same content always the same.
    document["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_URL, msgspec.json.encode(document).decode()).urn
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def _metadata(manifest: Manifest, architecture: str) -> Json:
    parts: Json = {"timestamp": manifest.lineage.created_utc} if _is_time(manifest.lineage.created_utc) else {}
    lineage = {"run": manifest.lineage.run_id, "data-sha256": manifest.lineage.data_sha256}
    return parts | {
        "lifecycles": [{"phase": "build"}],
        "tools": {"components": [_plain({"type": "application", "name": _OURS, "version": _version(_OURS)})]},
        "component": {
            "type": "machine-learning-model",
            "bom-ref": _model_ref(manifest),
            "name": manifest.name,
            "version": str(manifest.version),
            "modelCard": _model_card(manifest, architecture),
            "properties": _properties(lineage | {"code-version": manifest.lineage.code_version}),
        },
    }


def _model_card(manifest: Manifest, architecture: str) -> Json:
    approach = "supervised" if manifest.task in _LEARNS_FROM_LABELS else "unsupervised"
    outputs = f"{manifest.n_outputs} × float32" + (": probabilities by label" if manifest.labels else "")
    return {
        "modelParameters": {
            "approach": {"type": approach},
            "task": manifest.task,
            "modelArchitecture": architecture,
            "inputs": [{"format": f"{len(manifest.features)} × float32: one number a feature"}],
            "outputs": [{"format": outputs}],
        },
        "quantitativeAnalysis": {
            "performanceMetrics": [
                {"type": manifest.metric, "value": f"{variant.quality:.6g}", "slice": variant.name}
                for variant in manifest.variants
            ]
        },
    }


def _file(variant: Variant) -> Json:
    about = {"variant": variant.name, "runtime": variant.runtime, "size-bytes": str(variant.size_bytes)}
    return {
        "type": "file",
        "bom-ref": _file_ref(variant),
        "name": variant.file,
        "scope": "optional",
        "hashes": [{"alg": "SHA-256", "content": variant.sha256}],
        "properties": _properties(about | {"tolerance": f"{variant.tolerance:.6g}"}),
    }


def _library(name: str, *, is_maker: bool, is_runtime: bool) -> Json:
    """Describe a distribution; its version is the one installed here, which made the files or proved them."""
    version = _version(name)
    purl = f"pkg:pypi/{name.lower()}" + (f"@{quote(version, safe='')}" if version else "")
    roles = {"role": " ".join(["maker"] * is_maker + ["runtime"] * is_runtime), "device-needs": _needed(name)}
    return _plain(
        {
            "type": "library",
            "bom-ref": purl,
            "name": name,
            "version": version,
            # A device takes one runtime of several; what only makes files stays at home.
            "scope": "optional" if is_runtime else "excluded",
            "licenses": _licences(name),
            "purl": purl,
            "properties": _properties(roles),
        }
    )


def _version(name: str) -> str:
    return str(_metadata_of(name).get("version", ""))


def _licences(name: str) -> list[Json]:
    """Return what a distribution says of its licence: an SPDX expression, or a name."""
    about = _metadata_of(name)
    if expression := about.get("license_expression"):
        return [{"expression": expression}]
    text = str(about.get("license", ""))
    if not text or "\n" in text or len(text) > _MAX_LICENCE:
        classifiers = [c.rpartition("::")[2].strip() for c in about.get("classifier", ()) if "License ::" in c]
        text = classifiers[0] if classifiers else ""
    return [{"license": {"name": text}}] if text else []


def _metadata_of(name: str) -> Json:
    """Return the metadata of a distribution, without any where it is not installed."""
    try:
        return metadata(name).json
    except PackageNotFoundError:
        return {}


def _needed(name: str) -> str:
    """Return the bounds that our own metadata set for a distribution on a device."""
    try:
        lines = requires(_OURS) or []
    except PackageNotFoundError:
        return ""
    found = (_REQUIREMENT.match(line) for line in lines)
    return next((match["bounds"].strip() for match in found if match and match["name"] == name), "")


def _plain(parts: Json) -> Json:
    """Leave out what is not known."""
    return {key: value for key, value in parts.items() if value}


def _properties(values: Mapping[str, str]) -> list[Json]:
    return [{"name": f"{_OURS}:{name}", "value": value} for name, value in values.items() if value]


def _model_ref(manifest: Manifest) -> str:
    return f"model:{manifest.ref}"


def _file_ref(variant: Variant) -> str:
    return f"file:{variant.file}"


def _is_time(text: str) -> bool:
    """Tell whether a text is a point in time as RFC 3339 writes it."""
    try:
        return datetime.fromisoformat(text).tzinfo is not None and "T" in text
    except ValueError:
        return False
