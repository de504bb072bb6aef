"""What a step depends on, piece by piece: keys that are alike mean the same work; others say in what they differ."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from trainer.project.project import Project


class StepKey(Struct, frozen=True):
    """All that decides what a step makes.

    Attributes:
        code: digest of the sources of its modules and of what they import of ours.
        packages: version of each package that they import.
        project: digest of each section, or key, of the project that the step reads.
        inputs: digest of what each step before it made.
        given: the rest: digests of data files, the champion to be matched.
    """

    code: str
    packages: dict[str, str]
    project: dict[str, str]
    inputs: dict[str, str]
    given: dict[str, str]

    @property
    def digest(self) -> str:
        """A short name of the key."""
        return digest_of(self)

    def changes_since(self, earlier: "StepKey") -> tuple[str, ...]:
        """Say in words what is otherwise than in an earlier key; nothing when they are alike."""
        return (
            *(("its code changed",) if self.code != earlier.code else ()),
            *(
                f"{name}: {earlier.packages.get(name, 'none')}, now {self.packages.get(name, 'none')}"
                for name in _differing(self.packages, earlier.packages)
            ),
            *(f"project: {name} changed" for name in _differing(self.project, earlier.project)),
            *(f"what {name} made changed" for name in _differing(self.inputs, earlier.inputs)),
            *(f"{name} changed" for name in _differing(self.given, earlier.given)),
        )


def project_digests(project: Project, names: Iterable[str]) -> dict[str, str]:
    """Return a digest of each section (``gate``) or key (``gate.max_parity_loss``) of a project.

    Raises:
        KeyError: there is no such section or key.
    """
    values: dict[str, Any] = msgspec.to_builtins(project)
    digests = {}
    for name in names:
        value: Any = values
        for part in name.split("."):
            value = value[part]
        digests[name] = digest_of(value)
    return digests


def digest_of(value: object) -> str:
    """Return a short digest of a value; the order of a mapping's keys does not matter."""
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()[:16]


def _differing(mine: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    return sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
