"""The views that a store knows, every version of each: ``views/<name>/<version>.json``."""

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

import msgspec

from trainer.errors import DataError, ProjectError
from trainer.features.storage.address import StoreFiles
from trainer.features.views.changes import refused_changes
from trainer.features.views.view import FeatureView, verify_view

_FOLDER: Final = "views"


@dataclass(frozen=True, slots=True)
class Registered:
    """A view as the store knows it; `version` counts from 1."""

    view: FeatureView
    version: int


class Catalogue:
    """The views of one store, shared by all who have its address."""

    def __init__(self, files: StoreFiles) -> None:
        self._files = files

    def names(self) -> tuple[str, ...]:
        """Return the names of all views, sorted."""
        return tuple(sorted({path.split("/")[1] for path in self._files.list(f"{_FOLDER}/*/*.json")}))

    def versions(self, name: str) -> tuple[int, ...]:
        """Return the versions of a view, the oldest first; none: there is no such view."""
        found = self._files.list(f"{_FOLDER}/{name}/*.json")
        return tuple(sorted(int(path.rsplit("/", 1)[1].removesuffix(".json")) for path in found))

    def find(self, name: str, version: int | None = None) -> Registered:
        """Return a view, the newest version unless another is named.

        Raises:
            DataError: there is no such view or version, or its file is damaged.
        """
        known = self.versions(name)
        if not known:
            names = self.names()
            nearest = get_close_matches(name, names, n=1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"there are: {', '.join(names) or 'none'}"
            raise DataError(
                f"{self._files}: there is no view {name!r}; {hint} (fieldloop features register FILE adds views)"
            )
        version = known[-1] if version is None else version
        if version not in known:
            raise DataError(f"{self._files}: view {name!r} has no version {version}; there are: {known}")
        path = _path(name, version)
        try:
            view = msgspec.json.decode(self._files.read(path), type=FeatureView)
        except msgspec.DecodeError as error:
            raise DataError(f"{self._files}: {path} is damaged: {error}; restore it from a copy") from error
        return Registered(view, version)

    def verify(self, view: FeatureView) -> Registered | None:
        """Return the newest version of a view, None where there is none; what would break its users is refused.

        Raises:
            ProjectError: the view cannot be, or the change would break those who use it.
        """
        verify_view(view)
        if not self.versions(view.name):
            return None
        before = self.find(view.name)
        problems = [] if before.view == view else refused_changes(before.view, view)
        if problems:
            raise ProjectError(
                f"view {view.name!r}, version {before.version} of {self._files}: {'; '.join(problems)}. "
                "Who uses the view would break: give the new one, or the new feature, another name"
            )
        return before

    def register(self, view: FeatureView) -> Registered:
        """Add a view, or a new version of it; what is known as it is stays that version.

        Raises:
            ProjectError: the view cannot be, or the change would break those who use it.
        """
        while True:
            before = self.verify(view)
            if before is not None and before.view == view:
                return before
            version = 1 if before is None else before.version + 1
            # Another may have registered meanwhile: then it is compared with that one.
            if self._files.create(_path(view.name, version), msgspec.json.format(msgspec.json.encode(view), indent=1)):
                return Registered(view, version)


def _path(name: str, version: int) -> str:
    return f"{_FOLDER}/{name}/{version:06}.json"
