"""Which views of the feature store a service looks up, and which of their features."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trainer.features.online.lookup import Lookup
from trainer.features.views.view import FeatureView
from trainer.serving.errors import ServingError


@dataclass(frozen=True, slots=True)
class AskedView:
    """A view that is looked up.

    Attributes:
        view: says keys and features.
        names: of its features that are wanted.
        lookup: finds them.
    """

    view: FeatureView
    names: tuple[str, ...]
    lookup: Lookup


def open_views(
    wanted: Sequence[str], find: Callable[[str], FeatureView], make: Callable[[FeatureView], Lookup]
) -> list[AskedView]:
    """Return the views that are wanted: ``hourly``, or ``hourly:load`` for one feature of it, several times if need be.

    Args:
        wanted: in the words of ``fieldloop features extract``.
        find: returns a view by name; raises DataError where there is none.
        make: returns what looks it up.

    Raises:
        ServingError: a view has no such feature.
    """
    chosen: dict[str, list[str]] = {}
    views: dict[str, FeatureView] = {}
    for each in wanted:
        name, _, feature = each.partition(":")
        view = views.setdefault(name, find(name))
        names = [known.name for known in view.features]
        if feature and feature not in names:
            raise ServingError(f"view {name!r} has no feature {feature!r}; it has: {', '.join(names)}")
        some = chosen.setdefault(name, [])
        some += [known for known in names if known not in some and feature in {"", known}]
    return [AskedView(view, tuple(chosen[name]), make(view)) for name, view in views.items()]
