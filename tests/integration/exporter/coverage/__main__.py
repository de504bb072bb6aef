"""``python -m tests.integration.exporter.coverage``: measures the coverage table and writes `docs/coverage.md`."""

from edge_agent.durable import replace_file
from tests.integration.exporter.coverage.page import PAGE, write_page
from tests.integration.exporter.coverage.table import measure_all


def main() -> None:
    """Write the page."""
    documented = PAGE.read_text() if PAGE.exists() else ""
    replace_file(PAGE, write_page(measure_all(), documented).encode())


if __name__ == "__main__":
    main()
