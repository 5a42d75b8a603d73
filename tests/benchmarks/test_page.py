"""The page about performance shows what was measured, and nothing else."""

from __future__ import annotations

from pathlib import Path

from benchmarks import report
from benchmarks.tools import TOOLS

PAGES = Path(__file__).parents[2] / "docs" / "explanation"


def test_the_tables_on_the_page_are_the_results_in_the_file() -> None:
    tables = report.load((PAGES / "performance.json").read_text())
    page = (PAGES / "performance.md").read_text()
    shown = page.partition("<!-- results")[2].partition("-->\n")[2].partition("<!-- end of results")[0]
    assert shown.strip() == report.markdown(tables).strip()
    assert (PAGES / "performance.svg").read_text() == report.svg(tables)


def test_every_table_says_when_and_where_and_compares_us_with_somebody() -> None:
    for table in report.load((PAGES / "performance.json").read_text()):
        assert {"date", "machine", "load"} <= {*table.about}
        assert table.notes or not table.failed, "who failed is said"
        assert {*table.columns} - {"ours"}, table.title
        assert {*table.columns} & {*TOOLS}
        assert all(cell.runs for cells in table.rows.values() for cell in cells.values())
