"""The ledger: what became of every job, one JSON object a line, each on disk before the next thing happens."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ckptmigrate.errors import OutputError, output_errors

SUFFIX = ".ledger.jsonl"
WAITING, STARTED, DONE, FAILED, SKIPPED = "waiting", "started", "done", "failed", "skipped"


class Ledger:
    """An append-only file of records: status, src, dst, seconds, digest, issues."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[dict[str, Any]]:
        """The records. A last line that a kill cut off is taken off the file; what is no record is passed over.

        Raises:
            OutputError: It can't be read, or not cut.
        """
        with output_errors(self.path):
            try:
                content = self.path.read_bytes()
            except FileNotFoundError:
                return []
            whole = content[: content.rfind(b"\n") + 1]
            if len(whole) < len(content):
                os.truncate(self.path, len(whole))
        records = [_record(line) for line in whole.splitlines()]
        return [record for record in records if record]

    def append(self, record: Mapping[str, Any]) -> None:
        """Adds a record, and waits until it is on disk.

        Raises:
            OutputError: It can't be written.
        """
        line = json.dumps(record, sort_keys=True).encode() + b"\n"
        try:
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                if os.write(handle, line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            hint = "free some space and go on with --resume: nothing that is done is done again"
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
