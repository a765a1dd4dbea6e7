"""Reports as files: `--report FILE`, JSON or a page to look at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ckptmigrate.cli.answer import as_text
from ckptmigrate.errors import OutputError, UsageError
from ckptmigrate.staging import publish_file

if TYPE_CHECKING:
    from ckptmigrate.report import Report

JSON, HTML = ".json", ".html"


def check_report(name: str) -> None:
    """Before any work: a report that can't be written must not stop a finished run.

    Raises:
        UsageError: The suffix is another one.
        OutputError: There is no such folder.
    """
    if not name:
        return
    if Path(name).suffix not in (JSON, HTML):
        raise UsageError(f"reports are written as .json or .html, found {name!r}", hint="--report report.html")
    if not Path(name).resolve().parent.is_dir():
        raise OutputError("the folder of the report doesn't exist", where=name)


def is_page(name: str) -> bool:
    """Whether a page is asked for, which shows values as well."""
    return name.endswith(HTML)


def as_page(report: Report) -> str:
    """The HTML of a report; what makes it is loaded only then."""
    from ckptmigrate.page import page

    return page(report)


def write_report(name: str, document: Any, page: Callable[[], str]) -> None:
    """Writes a report, unless `name` is empty.

    Args:
        name: A path that `check_report` let pass.
        document: What JSON holds.
        page: Makes the HTML.
    """
    if not name:
        return
    text = page() if is_page(name) else as_text(document)
    publish_file(Path(name), text.encode("utf-8", "backslashreplace"))
