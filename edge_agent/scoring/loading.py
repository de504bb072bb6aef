"""Opens a variant's file with the runtime that its manifest names, once the file is what the manifest says."""

from pathlib import Path
from typing import Final

from edge_agent.bundle import Manifest, Variant
from edge_agent.digest import sha256_of_file
from edge_agent.errors import AgentError, AlteredError, RuntimeMissingError, StorageError
from edge_agent.scoring.runtime import Runtime

_GONE: Final = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


def verify_file(variant: Variant, path: Path) -> None:
    """Compare size and SHA-256 of a variant's file with its manifest: storage decays, and not only wires tamper.

    Raises:
        AlteredError: missing, or not the file that the manifest describes.
        StorageError: it cannot be read now.
    """
    try:
        size_bytes = path.stat().st_size
        if size_bytes != variant.size_bytes:
            msg = f"{path}: {size_bytes} bytes, its manifest says {variant.size_bytes}"
            raise AlteredError(msg)
        found = sha256_of_file(path, size_bytes)
    except OSError as error:
        raise reading_error(path, error) from error
    if found != variant.sha256:
        msg = f"{path}: SHA-256 {found}, its manifest says {variant.sha256}"
        raise AlteredError(msg)


def reading_error(path: Path, error: OSError) -> AgentError:
    """Return what it says of a bundle that a file of it cannot be read: nothing, unless the file is not there."""
    kind = AlteredError if isinstance(error, _GONE) else StorageError
    return kind(f"{path}: cannot be read: {error.strerror or error}")


def open_runtime(variant: Variant, folder: Path, manifest: Manifest) -> Runtime:
    """Open a variant of the bundle in ``folder``; the caller closes it.

    Raises:
        RuntimeMissingError: its runtime is not installed here.
        BundleError: its file is not the manifest's, does not load, or has other inputs or outputs than the manifest.
        StorageError: its file cannot be read now.
    """
    path = folder / variant.file
    verify_file(variant, path)
    n_features, n_outputs = len(manifest.features), manifest.n_outputs
    # Imported here: a device has one of them, and each costs tens of megabytes.
    try:
        if variant.runtime == "onnx":
            from edge_agent.scoring.onnx_runtime import OnnxRuntime  # noqa: PLC0415

            return OnnxRuntime(path, n_features, n_outputs)
        if variant.runtime == "native":
            from edge_agent.scoring.native_runtime import NativeRuntime  # noqa: PLC0415

            return NativeRuntime(path, n_features, n_outputs)
        from edge_agent.scoring.tflite_runtime import TfliteRuntime  # noqa: PLC0415

        return TfliteRuntime(path, n_features, n_outputs)
    except ImportError as error:
        msg = f"{variant.name} of {manifest.ref} needs the runtime {variant.runtime}, which is not installed: {error}"
        raise RuntimeMissingError(msg) from error
