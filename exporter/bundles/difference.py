"""Compares two bundles part by part: a pure function over their manifests and bills of materials."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from edge_agent.bundle import Estimation, GoldenRow, Manifest
from edge_agent.raw_signal import Signal
from exporter.bundles.materials import Sbom

_SHOWN: Final = 80
_NOTHING: Final = "–"


class Difference(Struct, frozen=True):
    """One part that is not the same.

    Attributes:
        part: for example ``features.wind.unit``.
        before, after: as text; a dash where there is no such part.
    """

    part: str
    before: str
    after: str


def compare_manifests(before: Manifest, after: Manifest) -> tuple[Difference, ...]:
    """Return what differs between two manifests, by part, in the order of the manifest.

    Fields are taken from the types, so one that is added to a feature, a variant, the trial or the lineage is compared.
    """
    return (
        *_fields("", before, after, ("name", "version", "task", "metric", "window_rows")),
        *_named("features", before.features, after.features),
        *_order("features", [f.name for f in before.features], [f.name for f in after.features]),
        *_signal(before.inputs.signal, after.inputs.signal),
        *_value("labels", before.labels, after.labels),
        *_references(before, after),
        *_estimation(before.estimation, after.estimation),
        *_golden(before.golden, after.golden),
        *_named("variants", before.variants, after.variants),
        *_fields("trial.", before.trial, after.trial),
        *_fields("lineage.", before.lineage, after.lineage),
    )


def compare_materials(before: Sbom | None, after: Sbom | None) -> tuple[Difference, ...]:
    """Return the libraries that differ between two bills of materials."""
    if before is None or after is None:
        return tuple(_value("materials", before and "listed", after and "listed"))
    versions = [
        {each.name: each.version or "any" for each in sbom.components_of("library")} for sbom in (before, after)
    ]
    return tuple(_mapped("materials", *versions))


def _fields(prefix: str, before: Any, after: Any, names: Sequence[str] = ()) -> Iterator[Difference]:  # noqa: ANN401
    for name in names or before.__struct_fields__:
        yield from _value(f"{prefix}{name}", getattr(before, name), getattr(after, name))


def _named(part: str, before: Sequence[Any], after: Sequence[Any]) -> Iterator[Difference]:
    """Compare structs that have names, field by field."""
    old, new = {each.name: each for each in before}, {each.name: each for each in after}
    for name in old | new:
        if name not in old or name not in new:
            yield Difference(f"{part}.{name}", *("there" if name in each else _NOTHING for each in (old, new)))
        else:
            yield from _fields(f"{part}.{name}.", old[name], new[name])


def _order(part: str, before: list[str], after: list[str]) -> Iterator[Difference]:
    """Tell that the same names come in another order: the rows of one bundle are not those of the other."""
    if before != after and sorted(before) == sorted(after):
        yield from _value(f"{part} (order)", tuple(before), tuple(after))


def _signal(before: Signal | None, after: Signal | None) -> Iterator[Difference]:
    if before is None or after is None:
        yield from _value("signal", before and "there", after and "there")
        return
    yield from _fields(
        "signal.", before, after, [n for n in before.__struct_fields__ if n not in {"channels", "bands"}]
    )
    yield from _named("signal.channels", before.channels, after.channels)
    yield from _value("signal.bands", *(tuple((b.low_hz, b.high_hz) for b in s.bands) for s in (before, after)))


def _references(before: Manifest, after: Manifest) -> Iterator[Difference]:
    old, new = (
        {feature.name: reference for feature, reference in zip(m.features, m.references, strict=True)}
        for m in (before, after)
    )
    for name in [name for name in old if name in new]:
        yield from _fields(f"references.{name}.", old[name], new[name])
    yield from _fields("", before, after, ("output_edges", "output_blocks"))


def _estimation(before: Estimation, after: Estimation) -> Iterator[Difference]:
    yield from _fields("estimation.", before, after, [n for n in before.__struct_fields__ if n != "second_model"])
    yield from _fields("estimation.second_model.", before.second_model, after.second_model)


def _golden(before: Sequence[GoldenRow], after: Sequence[GoldenRow]) -> Iterator[Difference]:
    """Compare the answers of golden rows that both have, and count the others."""
    old, new = {row.features: row.expected for row in before}, {row.features: row.expected for row in after}
    for label, rows in (("rows only before", old.keys() - new.keys()), ("rows only after", new.keys() - old.keys())):
        if rows:
            counts = (str(len(rows)), _NOTHING)
            yield Difference(f"golden ({label})", *(counts if label.endswith("before") else reversed(counts)))
    changed = [features for features in old.keys() & new.keys() if old[features] != new[features]]
    if changed:
        apart = max(_apart(old[features], new[features]) for features in changed)
        told = f"{len(changed)} of {len(old)} others, up to {apart:.3g} apart"
        yield Difference("golden (answers)", f"{len(old)} rows", told)


def _apart(before: Sequence[float], after: Sequence[float]) -> float:
    if len(before) != len(after):
        return float("inf")
    return max((abs(a - b) for a, b in zip(before, after, strict=True)), default=0.0)


def _mapped(part: str, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Difference]:
    for name in sorted(before.keys() | after.keys()):
        yield from _value(f"{part}.{name}", before.get(name), after.get(name))


def _value(part: str, before: object, after: object) -> Iterator[Difference]:
    if before != after:
        yield Difference(part, _shown(before), _shown(after))


def _shown(value: object) -> str:
    match value:
        case None | "":
            return _NOTHING
        case float():
            return f"{value:.9g}"
        case tuple():
            text = ", ".join(map(_shown, value[:_SHOWN]))
            brief = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
            return f"{len(value)}: [{brief}]"
        case _:
            return str(value)
