"""Writes the table as `docs/coverage.md`, and reads back what is documented there."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from exporter.variants import FORMS
from tests.integration.exporter.coverage.cells import text_of
from tests.integration.exporter.coverage.composites import BOOSTING, GAPS_AND_CATEGORIES, PIPELINES
from tests.integration.exporter.coverage.estimators import (
    CLASSIFIERS,
    CLUSTERINGS,
    DETECTORS,
    REGRESSORS,
    TRANSFORMERS,
)
from tests.integration.exporter.coverage.table import Line
from tests.unit.exporter.every_estimator import REFUSALS

PAGE: Final = Path(__file__).resolve().parents[4] / "docs" / "coverage.md"
WRITE: Final = "python -m tests.integration.exporter.coverage"
# In their order on the page, with what is special about their lines.
GROUPS: Final[Mapping[str, str]] = {
    PIPELINES: "",
    GAPS_AND_CATEGORIES: "Two columns with gaps, a category with gaps, one column without.",
    BOOSTING: "",
    CLASSIFIERS: "",
    REGRESSORS: "",
    CLUSTERINGS: "",
    DETECTORS: "",
    TRANSFORMERS: "Each in front of a MaxAbsScaler and a logistic regression, which hand on what it does to a row.",
}
_INTRODUCTION: Final = f"""# What converts into what

Every classifier, regressor, clustering, anomaly detector and transformer of scikit-learn's own list, models as people
build them, LightGBM and XGBoost: fitted on small data, converted into every variant, and scored by the code that
devices run. This page is written by `{WRITE}`; the test
`tests/integration/exporter/test_coverage.py` makes it anew and fails where it differs.

- **≤ 1e-6**: exact. No row is decided otherwise than by the original, ties of float32 aside: rows on and next to
  decision boundaries and thresholds were searched for, and ends of ranges, missing values and categories tried. The
  bound is that of the greatest difference of an output on rows that the model was not trained on, relative to the
  spread of its values (of probabilities, 1).
- **int8 ≤ 1e-2, ≥ 98 %**: quantised. The same bound, and the share of rows that get the same label. It holds for these
  small models; an export measures yours, and refuses a variant that loses more quality than the project allows.
- **–**: refused by name; why stands below the tables.

A bound is a power of ten, with room for what another processor rounds otherwise. The form `c` is compiled for the
machine that runs the test. No number here is about speed or size: see [benchmarks](benchmarks.md).
"""
_VARIANT: Final = re.compile(r"^step `[^`]*`: (\w+) is not supported for [\w-]+: (.*)$", re.DOTALL)


def write_page(lines: Sequence[Line], documented: str) -> str:
    """Return the page.

    Args:
        lines: of the table.
        documented: the page as it is now; its bounds stay where they hold.
    """
    known = _known_cells(documented)
    parts = [_INTRODUCTION]
    for group, about in GROUPS.items():
        own = [line for line in lines if line.group == group]
        parts.append(f"## {group}\n" + (f"\n{about}\n" if about else "") + "\n" + "\n".join(_table(own, known)) + "\n")
    parts += ["\n".join(_refused_cells(lines)) + "\n", "\n".join(_refused_families()) + "\n"]
    return "\n".join(parts)


def _table(lines: Sequence[Line], known: Mapping[tuple[str, str], Sequence[str]]) -> Iterator[str]:
    yield f"| family | {' | '.join(f'`{name}`' for name in FORMS)} |"
    yield "|---" * (len(FORMS) + 1) + "|"
    for line in lines:
        documented = known.get((line.group, line.name), [""] * len(FORMS))
        texts = [
            text_of(line.cells[name], before, decides=line.task != "regression")
            for name, before in zip(FORMS, documented, strict=True)
        ]
        yield f"| `{line.name}` | {' | '.join(texts)} |"


def _known_cells(page: str) -> dict[tuple[str, str], list[str]]:
    """Return the texts of the cells of a page, by group and family."""
    found: dict[tuple[str, str], list[str]] = {}
    group = ""
    for line in page.splitlines():
        if line.startswith("## "):
            group = line[3:]
        elif line.startswith("| "):
            name, *texts = [part.strip(" `") for part in line.strip("|").split("|")]
            if len(texts) == len(FORMS):
                found[group, name] = texts
    return found


def _refused_cells(lines: Sequence[Line]) -> Iterator[str]:
    yield "## Refused cells, one by one\n"
    for variant in FORMS:
        by_reason: dict[str, list[str]] = {}
        for line in lines:
            cell = line.cells[variant]
            if cell.outcome == "refused":
                reason = _reason_of(cell.reason)
                by_reason.setdefault(reason, []).append(_name_of(line))
        for reason, names in by_reason.items():
            yield f"- **`{variant}`** is not supported: {reason}: {', '.join(names)}."


def _name_of(line: Line) -> str:
    return f"`{line.name}`" + (" before a model" if line.group == TRANSFORMERS else "")


def _reason_of(message: str) -> str:
    """Return why a variant is refused, without the step, which differs from model to model."""
    found = _VARIANT.match(message)
    return found[2] if found else message


def _refused_families() -> Iterator[str]:
    yield "## Refused families\n"
    yield (
        "These have no form that devices run; an export says so by their name, in every variant: "
        "``step `model`: KNeighborsClassifier has no form that devices run``. An estimator of another library is "
        "refused so too, unless it is one of LightGBM or XGBoost; a graph in a file is taken as ONNX.\n"
    )
    for reason, names in REFUSALS.items():
        yield f"- {', '.join(f'`{name}`' for name in sorted(names))}: {reason}."
