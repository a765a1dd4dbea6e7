"""The ledger: what became of every job, one JSON object a line, each written before the next thing happens."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ckptmigrate.errors import OutputError, output_errors
from ckptmigrate.locks import lock

SUFFIX = ".ledger.jsonl"
WAITING, STARTED, DONE, FAILED, SKIPPED = "waiting", "started", "done", "failed", "skipped"

_GO_ON = "free some space and go on with --resume: nothing that is done is done again"
_HINTS = {errno.ENOSPC: _GO_ON, errno.EDQUOT: _GO_ON, errno.EFBIG: _GO_ON}
_ASIDE = "move it away, or call the manifest something else"


class Ledger:
    """An append-only file of records: status, src, dst, seconds, digest, issues."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[dict[str, Any]]:
        """The records. A last line that a kill cut off is taken off the file; what is no record is passed over.

        Raises:
            OutputError: It is no ledger, or can't be read, or not cut.
        """
        with output_errors(self.path):
            if not self.path.exists():
                return []
            if not self.path.is_file():
                raise OutputError("a ledger is a file", where=str(self.path), hint=_ASIDE)
            with self.path.open("r+b") as file:
                lock(file.fileno())  # a line that is being written is not one that is torn
                content = file.read()
                whole = content[: content.rfind(b"\n") + 1]
                records = [record for line in whole.splitlines() if (record := _record(line))]
                if not (records or content.startswith(b"{") or not content):
                    raise OutputError("is no ledger of a batch", where=str(self.path), hint=_ASIDE)
                if len(whole) < len(content):
                    file.truncate(len(whole))
        return records

    def append(self, record: Mapping[str, Any]) -> None:
        """Adds a record, which is on disk then; but of a job that starts, with the record of what becomes of it.

        Raises:
            OutputError: It can't be written.
        """
        line = json.dumps(record, sort_keys=True).encode() + b"\n"
        try:
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                lock(handle)
                if os.write(handle, line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                if record["status"] != STARTED:
                    os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            hint = _HINTS.get(error.errno or 0, "it lies beside the manifest, and without one in this folder")
            raise OutputError(
                f"the ledger can't be written: {error.strerror}", where=str(self.path), hint=hint
            ) from None


def _record(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    is_record = isinstance(found, dict) and isinstance(found.get("dst"), str) and isinstance(found.get("status"), str)
    return found if is_record else {}
