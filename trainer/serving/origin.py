"""Where a served model comes from: a version of the registry, by number or by alias, or a bundle on this disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from trainer.errors import RegistryError
from trainer.registry.registry import Registry


@dataclass(frozen=True, slots=True)
class Offer:
    """What is to be served now.

    Attributes:
        key: differs exactly where the model differs.
        bundle: folder or packed file.
    """

    key: str
    bundle: Path


class Origin(Protocol):
    """Says what is to be served; asked again and again from threads, one at a time."""

    # Whether it always says the same.
    is_fixed: bool

    def current(self) -> Offer:
        """Return what is to be served now.

        Raises:
            TrainerError: there is nothing; the message says what to do.
        """
        ...


class FixedBundle:
    """A bundle on this disk; implements `Origin`."""

    is_fixed = True

    def __init__(self, bundle: Path) -> None:
        self._bundle = bundle

    def current(self) -> Offer:
        """Return the bundle."""
        return Offer(str(self._bundle), self._bundle)


class RegistryVersion:
    """A version of the registry; implements `Origin`."""

    def __init__(self, registry: Registry, reference: str, model: str) -> None:
        """Follow a reference.

        Args:
            registry: is asked what the reference means.
            reference: ``name``, ``name/3``, ``name@alias``, ``3`` or an alias.
            model: whose versions a number or an alias alone means.
        """
        self._registry = registry
        self._reference = reference
        self._model = model
        # A number never means another version.
        self.is_fixed = reference.rpartition("/")[2].isdecimal()
        self._last: Offer | None = None

    def current(self) -> Offer:
        """Return the bundle of the version that the reference means now.

        Raises:
            RegistryError: there is no such version, or it has no bundle.
        """
        version = self._registry.resolve(self._reference, self._model)
        key = f"{version.name}/{version.version}"
        if self._last is not None and self._last.key == key:
            # Where its files are is not asked again: the store may be far away.
            return self._last
        bundle = version.bundle
        if not bundle.is_dir():
            raise RegistryError(f"{key} has no bundle: no variant of it was exported; see its run")
        self._last = Offer(key, bundle)
        return self._last
