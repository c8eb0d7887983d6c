"""A comparison as people look at it: one page that needs nothing else, a CSV, and a picture of each chart."""

from pathlib import Path

from convgrid.compare.report.chapters import CHAPTERS, chapters_of
from convgrid.compare.report.drawing import tiled
from convgrid.compare.report.html_tables import write_csv
from convgrid.compare.report.page import report_page
from convgrid.compare.report.png import save
from convgrid.compare.results import Answer
from convgrid.compare.trials import Trials
from convgrid.errors import DiskError
from convgrid.runs.files import replacing
from convgrid.runs.files import write as write_text

REPORT_FILE = "report.html"
TABLE = "table.csv"


def write(trials: Trials, answer: Answer, folder: Path) -> Path:
    """Write report.html, table.csv, and a PNG of each chart.

    Args:
        answer: What the comparison comes to; of one setting at least.
        folder: Where to; it is made, and an earlier report there is replaced.

    Returns:
        The page.

    Raises:
        DiskError: If nothing can be written there.
    """
    chapters = chapters_of(trials, answer)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in CHAPTERS:
            (folder / f"{name}.png").unlink(missing_ok=True)
        write_text(folder / REPORT_FILE, report_page(trials, answer, chapters))
        with replacing(folder / TABLE) as partial:
            write_csv(answer, partial)
        for chapter in chapters:
            save(tiled(chapter.picture, columns=chapter.columns), folder / f"{chapter.name}.png")
    except OSError as error:
        raise DiskError(f"{folder} cannot be written: {error.strerror}.") from None
    return folder / REPORT_FILE
