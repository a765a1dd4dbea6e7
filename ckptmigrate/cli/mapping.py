"""`ckptmigrate mapping`: rule files, the shipped ones and your own."""

from __future__ import annotations

import typer

app = typer.Typer(help="List, show, check and explain mapping files.", rich_markup_mode=None)
