"""`savedmodel`: SavedModel directories of TF1 and TF2, TF Hub modules among them."""

from __future__ import annotations

from ckptmigrate.formats.format import Format

FORMAT = Format(
    name="savedmodel",
    title="SavedModel directory of TF1 or TF2, TF Hub modules",
    suffixes=(),
    home=__name__,
    is_folder=True,
)
