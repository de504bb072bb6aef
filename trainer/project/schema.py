"""The schema of a project's rows: a file that is inferred once, read by a person, and kept with the project.

``schema.toml`` stands beside the project file, which names it in ``data.schema``. Its version grows with its content,
and a review is of one content: what was changed since is told.
"""

import hashlib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edge_agent.configuration import ConfigurationError, load_toml
from trainer.errors import ProjectError
from trainer.project.section import Positive, Section, Share


class ColumnSchema(Section, frozen=True, kw_only=True):
    """What one input may hold.

    Attributes:
        minimum, maximum: beyond them values are counted as anomalies; when most rows are, the column is another one.
        max_missing: share of rows that may lack a value.
    """

    name: str
    dtype: Literal["float32", "category"] = "float32"
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[str, ...] = ()
    max_missing: Share = 0.0


class Review(Section, frozen=True, kw_only=True):
    """Who read the schema, when, and what it held then."""

    by: str
    at_utc: str
    version: Positive
    sha256: str


class Schema(Section, frozen=True, kw_only=True):
    """What the rows must be.

    Attributes:
        version: grows by one with every other content.
        labels: classes that the target may hold; empty for regression.
        review: None: nobody has read it.
    """

    version: Positive = 1
    target: str
    labels: tuple[str, ...] = ()
    columns: Annotated[tuple[ColumnSchema, ...], Meta(min_length=1)]
    review: Review | None = None

    @property
    def sha256(self) -> str:
        """Hash of what it demands, in hex; version and review do not count."""
        return hashlib.sha256(msgspec.json.encode([self.target, self.labels, self.columns])).hexdigest()

    @property
    def is_reviewed(self) -> bool:
        """Tell whether somebody has read just this content."""
        return self.review is not None and self.review.sha256 == self.sha256

    @property
    def standing(self) -> str:
        """Version and review, for people."""
        text = f"version {self.version}, {self.sha256[:12]}"
        if self.review is None:
            return f"{text}, not reviewed"
        if not self.is_reviewed:
            return f"{text}, changed since {self.review.by} reviewed it on {self.review.at_utc}"
        return f"{text}, reviewed by {self.review.by} on {self.review.at_utc}"


def load_schema(path: Path) -> Schema:
    """Read a schema.

    Raises:
        ProjectError: unreadable, an unknown key, or a wrong value.
    """
    try:
        schema = load_toml(path, Schema)
    except ConfigurationError as error:
        raise ProjectError(f"{error}; fieldloop schema infer writes a new one") from error
    names = [column.name for column in schema.columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ProjectError(f"{path}: the column {twice[0]!r} is listed twice")
    return schema
