"""The graph of what came from what: views, features, data, runs, models, bundles, devices; followed both ways.

Gathered from what is recorded anyway: the registry, the update repository, the fleet's database. Nothing is computed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from trainer.errors import RegistryError
from trainer.features.views.use import ViewUse

Kind = Literal["view", "feature", "data", "run", "model", "bundle", "device"]
# From left to right: each is made of what stands before it.
KINDS: Final[tuple[Kind, ...]] = ("view", "feature", "data", "run", "model", "bundle", "device")
_SHORTEST: Final = 4


@dataclass(frozen=True, slots=True)
class Node:
    """One thing.

    Attributes:
        name: unique among its kind: whole, as a command takes it.
        about: what people want to know of it, in a few words.
    """

    kind: Kind
    name: str
    about: str = field(default="", compare=False)

    @property
    def key(self) -> str:
        """The node in one word, as a command takes it: ``run:0123…``."""
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True)
class Edge:
    """One thing was made of another one, or runs it."""

    source: Node
    target: Node


@dataclass(frozen=True, slots=True)
class Version:
    """What is recorded of one model version.

    Attributes:
        features: names of its inputs.
        data: fingerprint of the rows that it was trained on.
        bundle: ``name-version`` of its bundle; None: no variant fitted the devices.
        views: of the feature store, which the features, or the labels, were taken from.
    """

    model: str
    run: str
    run_about: str
    about: str
    features: tuple[str, ...]
    data: str
    bundle: str | None
    views: tuple[ViewUse, ...] = ()


@dataclass(frozen=True, slots=True)
class Lineage:
    """All nodes and edges."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    def upstream(self, node: Node) -> tuple[Node, ...]:
        """Return what a thing was made of."""
        return tuple(edge.source for edge in self.edges if edge.target == node)

    def downstream(self, node: Node) -> tuple[Node, ...]:
        """Return what was made of a thing."""
        return tuple(edge.target for edge in self.edges if edge.source == node)

    def around(self, node: Node) -> "Lineage":
        """Return the part that a thing comes from and goes to; not its neighbours' other children."""
        edges = {*self._followed(node, forwards=True), *self._followed(node, forwards=False)}
        kept = tuple(edge for edge in self.edges if edge in edges)
        found = {node, *(end for edge in kept for end in (edge.source, edge.target))}
        return Lineage(tuple(each for each in self.nodes if each in found), kept)

    def find(self, word: str) -> Node:
        """Return the thing that a word names: ``kind:name``, a name, or the beginning of a run or a fingerprint.

        A feature may be named with its view, as ``view:feature``.

        Raises:
            RegistryError: there is none, or there are several.
        """
        kind, _, name = word.partition(":")
        known: Sequence[Node] = self.nodes
        if name and kind in KINDS:
            known = [node for node in known if node.kind == kind]
        else:
            name = word
        exact = [node for node in known if node.name == name] or self._features_of_view(word)
        found = exact or [
            node
            for node in known
            if node.kind in {"run", "data"} and len(name) >= _SHORTEST and node.name.startswith(name)
        ]
        if not found:
            raise RegistryError(
                f"{word!r} is no model, feature, view, run, fingerprint, bundle or device that the registry knows; "
                "models and runs: fieldloop registry list"
            )
        if len(found) > 1:
            raise RegistryError(f"{word!r} may be {' or '.join(node.key for node in found)}: write one of them")
        return found[0]

    def _features_of_view(self, word: str) -> list[Node]:
        view, _, feature = word.partition(":")
        names = {feature, f"{view}__{feature}"}
        return [
            edge.target
            for edge in self.edges
            if edge.source == Node("view", view) and edge.target.kind == "feature" and edge.target.name in names
        ]

    def _followed(self, start: Node, *, forwards: bool) -> Iterator[Edge]:
        seen, waiting = {start}, [start]
        while waiting:
            here = waiting.pop()
            for edge in self.edges:
                near, far = (edge.source, edge.target) if forwards else (edge.target, edge.source)
                if near == here:
                    yield edge
                    if far not in seen:
                        seen.add(far)
                        waiting.append(far)


def join_lineage(versions: Iterable[Version], published: Iterable[str], devices: Mapping[str, str]) -> Lineage:
    """Join what is recorded into one graph.

    Args:
        versions: of all models.
        published: names of the bundles that the update repository lists.
        devices: the bundle that each device runs; one that no version made stands alone with its devices.
    """
    listed, versions = frozenset(published), tuple(versions)
    views = _views(versions)
    nodes: dict[Node, None] = {}
    edges: dict[Edge, None] = {}

    def tie(source: Node, target: Node) -> None:
        nodes.setdefault(source)
        nodes.setdefault(target)
        edges.setdefault(Edge(source, target))

    for version in versions:
        run, model = Node("run", version.run, version.run_about), Node("model", version.model, version.about)
        data = Node("data", version.data, "rows that it was trained on")
        for name in version.features:
            tie(Node("feature", name), data)
        for use in version.views:
            for _, name in () if use.is_label else use.features:
                tie(views[use.view], Node("feature", name))
            if use.is_label:
                tie(views[use.view], data)
        tie(data, run)
        tie(run, model)
        if version.bundle is not None:
            tie(model, _bundle(version.bundle, listed))
    for device, bundle in sorted(devices.items()):
        tie(_bundle(bundle, listed), Node("device", device, "runs it"))
    order = sorted(nodes, key=lambda node: KINDS.index(node.kind))
    return Lineage(tuple(order), tuple(edges))


def _views(versions: Iterable[Version]) -> dict[str, Node]:
    """Return of each view its node, with those of its versions that models were made of."""
    numbers: dict[str, set[int]] = {}
    for use in (use for version in versions for use in version.views):
        numbers.setdefault(use.view, set()).add(use.version)
    return {
        name: Node("view", name, f"version {', '.join(map(str, sorted(found)))}") for name, found in numbers.items()
    }


def _bundle(name: str, listed: frozenset[str]) -> Node:
    return Node("bundle", name, "published" if name in listed else "not published")
