"""ckptmigrate: move TensorFlow and Keras checkpoints between formats, with optimizer state, and prove the result.

    import ckptmigrate

    with ckptmigrate.open("model.ckpt") as checkpoint:
        print(checkpoint.format, len(checkpoint.variables))
    report = ckptmigrate.convert("model.ckpt", "out/ckpt-0", to="tf2", mapping="auto")
    print(report.verdict, report.counts)

Names load on first use, so that `import ckptmigrate` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ckptmigrate.conversion import convert
    from ckptmigrate.errors import CkptMigrateError
    from ckptmigrate.formats import identify
    from ckptmigrate.formats import open_checkpoint as open
    from ckptmigrate.mapping.rules import Mapping
    from ckptmigrate.planning import plan
    from ckptmigrate.report import Report
    from ckptmigrate.verification import diff, verify

_HOMES = {
    "CkptMigrateError": ("ckptmigrate.errors", "CkptMigrateError"),
    "Mapping": ("ckptmigrate.mapping.rules", "Mapping"),
    "Report": ("ckptmigrate.report", "Report"),
    "convert": ("ckptmigrate.conversion", "convert"),
    "diff": ("ckptmigrate.verification", "diff"),
    "identify": ("ckptmigrate.formats", "identify"),
    "open": ("ckptmigrate.formats", "open_checkpoint"),
    "plan": ("ckptmigrate.planning", "plan"),
    "verify": ("ckptmigrate.verification", "verify"),
}

__all__ = ["CkptMigrateError", "Mapping", "Report", "convert", "diff", "identify", "open", "plan", "verify"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ckptmigrate' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
