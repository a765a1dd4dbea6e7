"""Values: tensors that can't be read, and values that are no numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ckptmigrate.doctor.case import Case
from ckptmigrate.doctor.scan import Scan, scan
from ckptmigrate.errors import CkptMigrateError, DamagedError
from ckptmigrate.formats.bundles import tensors_of
from ckptmigrate.formats.paths import resolve
from ckptmigrate.issues import Issue
from ckptmigrate.progress import Progress
from ckptmigrate.table import Checkpoint, Entry
from ckptmigrate.wire.bundle import read_bundle
from ckptmigrate.wire.names import index_file

UNBOUND = "?"  # the slot of state whose variable the file doesn't tell
_MOST = 0.5  # of a data file's tensors: with more broken checksums it is another file, not a damaged one


class _Unread(NamedTuple):
    entry: Entry
    error: CkptMigrateError


def read_values(checkpoint: Checkpoint, progress: Progress) -> tuple[dict[str, Scan], list[Issue]]:
    """Reads every tensor once, one at a time.

    Returns:
        What the values of each key are like, and what could not be read, with what that means.
    """
    scans: dict[str, Scan] = {}
    unread: list[_Unread] = []
    rows = list(checkpoint.rows())
    for number, entry in enumerate(rows):
        progress("examine", number, len(rows))
        try:
            if (found := scan(entry.tensor)) is not None:
                scans[entry.key] = found
            elif not entry.tensor.is_open:
                entry.tensor.read()
        except CkptMigrateError as error:
            unread.append(_Unread(entry, error))
    progress("examine", len(rows), len(rows))
    return scans, list(_unread_issues(rows, unread))


def damaged_bundle(path: str | Path) -> list[Issue]:
    """What can't be read of a bundle that can't be opened; nothing for a path that is none.

    A checkpoint whose small scalars are damaged isn't opened: what they say is needed to tell what it holds.
    """
    try:
        prefix = resolve(path).path
        tensors = tensors_of(read_bundle(prefix)) if index_file(prefix).is_file() else {}
    except CkptMigrateError:
        return []
    rows = [Entry(key, "", "", key, tensor) for key, tensor in tensors.items()]
    unread: list[_Unread] = []
    for entry in rows:
        try:
            entry.tensor.read()
        except CkptMigrateError as error:
            unread.append(_Unread(entry, error))
    return list(_unread_issues(rows, unread))


def _unread_issues(rows: Sequence[Entry], unread: Sequence[_Unread]) -> Iterator[Issue]:
    """A data file that is wrong as a whole is said once; else each tensor."""
    totals = Counter(file for entry in rows for file in _files(entry))
    damaged = [u for u in unread if isinstance(u.error, DamagedError)]
    broken = Counter(file for u in damaged for file in _files(u.entry))
    strange = {file for file, count in broken.items() if count > 1 and count > totals[file] * _MOST}
    for file in sorted(strange):
        message = (
            f"{broken[file]} of its {totals[file]} tensors don't have the checksums that the index has: it is of "
            "another save than the index, and TensorFlow stops at the first"
        )
        yield Issue("damaged", "error", file.name, message, "copy index and data files of one save anew", str(file))
    for entry, error in unread:
        if isinstance(error, DamagedError) and not strange.intersection(_files(entry)):
            yield Issue("damaged", "error", entry.label, error.message, "copy the file anew", error.where)


def _files(entry: Entry) -> set[Path]:
    return {extent.file for extent in entry.tensor.extents}


def examine_values(case: Case) -> Iterator[Issue]:
    """NaN and infinities in weights, statistics, slots and averages."""
    for entry in case.checkpoint.rows():
        found = case.scans.get(entry.key)
        if found is None or not (found.nan or found.inf):
            continue
        name = entry.key if entry.slot == UNBOUND else entry.label
        yield Issue("nan", "error", name, f"{_counted(found)}: {_harm(entry)}", _cure(case, entry))


def _counted(found: Scan) -> str:
    if found.nan == found.elements:
        return "every value is NaN"
    counts = " and ".join(f"{n:,} {word}" for n, word in ((found.nan, "NaN"), (found.inf, "infinite")) if n)
    return f"{counts} of {found.elements:,} values, the first at [{','.join(map(str, found.first))}]"


def _harm(entry: Entry) -> str:
    if not entry.optimizer:
        return "every output that this touches is NaN"
    return "the first step that uses it makes the variable NaN" if entry.slot else "the next step uses it"


def _cure(case: Case, entry: Entry) -> str:
    if entry.optimizer:
        return f"the weights alone: {case.convert('--optimizer', 'drop')}"
    return "go back to an older checkpoint: training had diverged when this one was saved"
