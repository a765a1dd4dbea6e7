"""Reports as files: `--report FILE`, JSON or a page to look at."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ckptmigrate.cli.answer import Answer, as_text, issue_lines
from ckptmigrate.destination import destination_of, refuse_strange
from ckptmigrate.errors import OutputError, UsageError
from ckptmigrate.issues import Issue
from ckptmigrate.staging import publish_file
from ckptmigrate.wire.reading import head
from ckptmigrate.wire.remote import held

if TYPE_CHECKING:
    from ckptmigrate.report import Report

JSON, HTML = ".json", ".html"
_BEGINNINGS = (b'{\n "source": ', b'{\n "ledger": ')  # of reports in JSON
_HEAD = 1 << 10  # bytes


def check_report(name: str) -> None:
    """Before any work: a report that can't be written must not stop a finished run.

    Raises:
        UsageError: The suffix is another one.
        OutputError: It is a folder, or lies in none, or something that is no report stands there.
    """
    if not name:
        return
    if Path(name).suffix not in (JSON, HTML):
        raise UsageError(f"reports are written as .json or .html, found {name!r}", hint="--report report.html")
    with held(name):
        place = destination_of(name, "")
        if not place.folder.is_dir():
            raise OutputError("the folder of the report doesn't exist", where=name)
        refuse_strange(place, [place.path])
        if os.path.lexists(place.path) and not _is_report(place.path):
            hint = "name another file for the report"
            raise OutputError("exists, and is no report, which alone is replaced by another", where=name, hint=hint)


def _is_report(path: Path) -> bool:
    """Whether a file is an older report, or empty; what makes pages is loaded only where one may be."""
    from ckptmigrate.page.frame import SIGN

    try:
        begin = head(path, _HEAD)
    except OSError:
        return False
    return not begin or begin.startswith(_BEGINNINGS) or SIGN.encode() in begin


def is_page(name: str) -> bool:
    """Whether a page is asked for, which shows values as well."""
    return name.endswith(HTML)


def as_page(report: Report) -> str:
    """The HTML of a report; what makes it is loaded only then."""
    from ckptmigrate.page import page

    return page(report)


def reported(answer: Answer, name: str, page: Callable[[], str]) -> Answer:
    """The answer, once its report is written. One that can't be is an issue and exit code 7: the work itself is done.

    Args:
        answer: To the command.
        name: A path or URL that `check_report` let pass; empty where no report is asked for.
        page: Makes the HTML.
    """
    if not name:
        return answer
    try:
        check_report(name)  # the output may be there now
        text = page() if is_page(name) else as_text(answer.document())
        publish_file(name, text.encode("utf-8", "backslashreplace"))
    except OutputError as error:
        issue = Issue("output", "error", "", f"the report can't be written: {error.message}", error.hint, error.where)
        document = answer.document()
        document = {**document, "issues": [*document["issues"], issue.to_json()]}
        return Answer(lambda: document, lambda: [*answer.lines(), *issue_lines([issue])], error.exit_code)
    return answer
