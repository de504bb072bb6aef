"""Makes skrub's page of the columns: every value of the first rows, distributions and associations."""

from typing import Final

import numpy as np
import pandas as pd

from trainer.features.table import TrainingTable
from trainer.project.project import Project

# Of wide tables only the list of columns and the first rows are shown: hundreds of plots would weigh megabytes.
_MAX_PLOTTED: Final = 40
_MAX_ROWS: Final = 50_000


def columns_page(table: TrainingTable, project: Project) -> str:
    """Return a whole page as HTML; it loads nothing."""
    from skrub import TableReport  # noqa: PLC0415 - heavy, and drawn once

    step = max(1, -(-len(table.rows) // _MAX_ROWS))
    columns: dict[str, object] = {}
    for place, feature in enumerate(project.features):
        values = table.rows[::step, place]
        if feature.dtype == "category":
            columns[feature.name] = [None if np.isnan(code) else feature.categories[int(code)] for code in values]
        else:
            columns[feature.name] = values
    truth = table.truth[::step]
    if project.target.is_labelled:
        columns[project.target.column] = [table.labels[int(code)] for code in truth] if table.labels else truth
    is_narrow = len(columns) <= _MAX_PLOTTED
    report = TableReport(
        pd.DataFrame(columns),
        title=project.name,
        verbose=0,
        plot_distributions=is_narrow,
        compute_associations=is_narrow,
    )
    return str(report.html())
