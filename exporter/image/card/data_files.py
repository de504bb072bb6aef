"""The data partition: what makes one card another than the next. All that a board writes lies there, too."""

from collections.abc import Iterator

from exporter.image.card.contents import DATA, PLAIN, CardFile
from exporter.image.card.description import Card

# Bound to /etc/fieldloop and /var/lib/fieldloop.
SETTINGS = DATA / "card" / "fieldloop"
STATE = DATA / "fieldloop"


def data_files(card: Card) -> Iterator[CardFile]:
    """Yield the files of the data partition."""
    yield CardFile(SETTINGS / "root.json", card.tuf_root, PLAIN, "data")
