"""`ckptmigrate formats`: what can be read and written."""

from __future__ import annotations

import typer

from ckptmigrate.cli.answer import BLANKS, Answer, give
from ckptmigrate.cli.options import Json
from ckptmigrate.cli.text import columns


def formats(as_json: Json = False) -> None:
    """List the formats that can be read and written."""

    def command() -> Answer:
        from ckptmigrate.formats import FORMATS

        rows = [
            ("format", "read", "write", "what"),
            *((f.name, "yes", "yes" if f.is_writable else "-", f.title) for f in FORMATS),
        ]
        return Answer(
            lambda: {
                "formats": [
                    {
                        "name": f.name,
                        "title": f.title,
                        "suffixes": list(f.suffixes),
                        "read": True,
                        "write": f.is_writable,
                    }
                    for f in FORMATS
                ],
                "issues": [],
            },
            lambda: columns(rows, indent=""),
        )

    raise typer.Exit(give(command, as_json, BLANKS["formats"]))
