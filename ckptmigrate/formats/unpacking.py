"""A Checkpoint from named arrays: by the document that lies with them, else as plain variables."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ckptmigrate.document import decode
from ckptmigrate.dtypes import INT64, STRING, DType
from ckptmigrate.errors import DamagedError
from ckptmigrate.formats.packing import OFFSETS, UINT8, as_type
from ckptmigrate.formats.roles import role_of
from ckptmigrate.issues import Issue
from ckptmigrate.table import Checkpoint, Tensor, Variable


@dataclass(frozen=True, slots=True)
class Container:
    """What was found in a file, or in the files of one archive.

    Attributes:
        path, format, files: As `Checkpoint` has them.
        tensors: By member, in the file's order.
        document: The document's text, or None.
        metadata: What else the file says of itself.
        issues: What reading found.
    """

    path: Path
    format: str
    files: tuple[Path, ...]
    tensors: Mapping[str, Tensor]
    document: str | bytes | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    issues: tuple[Issue, ...] = ()


def unpack(container: Container) -> Checkpoint:
    """The checkpoint. Members that the document doesn't know are plain variables, with a warning.

    Raises:
        DamagedError: The document is wrong, or the members don't fit it.
    """
    where = str(container.path)
    if container.document is None:
        return Checkpoint(
            path=container.path,
            format=container.format,
            variables=_plain(container.tensors, container.tensors),
            files=container.files,
            metadata=container.metadata,
            issues=container.issues,
        )
    members = _Members(container.tensors, where)
    checkpoint = decode(
        container.document,
        members.tensor,
        where=where,
        path=container.path,
        format=container.format,
        files=container.files,
    )
    extra = [name for name in container.tensors if name not in members.taken]
    variables = {**checkpoint.variables, **_plain(container.tensors, extra, checkpoint.variables)}
    issues = [
        Issue(
            "undocumented", "warning", name, "read as a plain variable: the file's document doesn't know it", "", where
        )
        for name in extra
    ]
    return replace(checkpoint, variables=variables, issues=(*container.issues, *issues))


def _plain(
    tensors: Mapping[str, Tensor], names: Iterable[str], taken: Mapping[str, Variable] | None = None
) -> dict[str, Variable]:
    variables: dict[str, Variable] = {}
    for member in names:
        name, tensor = member, tensors[member]
        while taken and name in taken:
            name += "#member"
        variables[name] = Variable(name, tensor, member, role_of(member, tensor.dtype, tensor.shape))
    return variables


@dataclass(frozen=True, slots=True)
class _Members:
    """The container as the document's codec sees it; remembers what was asked for."""

    tensors: Mapping[str, Tensor]
    where: str
    taken: set[str] = field(default_factory=set)

    def tensor(self, member: str, dtype: DType, shape: tuple[int, ...]) -> Tensor:
        """The tensor that the document says stands there; see `document.TensorOf`."""
        if dtype is STRING:
            return self._strings(member, shape)
        held = self._take(member)
        if held.dtype is dtype and held.shape == shape:
            return held
        expected = Tensor(shape, dtype)
        fits = dtype.is_raw and held.dtype.is_raw and held.nbytes == expected.nbytes
        same = held.shape == (shape if held.dtype.nbytes == dtype.nbytes else (*shape, dtype.nbytes))
        if not (fits and same and (held.dtype is UINT8 or held.dtype.numpy == dtype.numpy)):
            raise self._misfit(member, f"{dtype} {list(shape)}", f"{held.dtype} {list(held.shape)}")
        return Tensor(shape, dtype, lambda: as_type(held.read(), dtype, shape), held.extents)

    def _strings(self, member: str, shape: tuple[int, ...]) -> Tensor:
        held, offsets = self._take(member), self._take(member + OFFSETS)
        expected = Tensor(shape, STRING)
        if held.dtype is not UINT8 or len(held.shape) != 1:
            raise self._misfit(member, "the bytes of strings", f"{held.dtype} {list(held.shape)}")
        if offsets.dtype is not INT64 or offsets.shape != (expected.size + 1,):
            found = f"{offsets.dtype} {list(offsets.shape)}"
            raise self._misfit(member + OFFSETS, f"int64 [{expected.size + 1}]", found)

        def load() -> np.ndarray[Any, Any]:
            data, ends = held.read().tobytes(), offsets.read()
            if ends[0] != 0 or ends[-1] != len(data) or (np.diff(ends) < 0).any():
                raise self._misfit(member + OFFSETS, f"offsets that rise from 0 to {len(data)}", "others")
            values = np.empty(expected.size, object)
            values[:] = [data[a:b] for a, b in itertools.pairwise(ends)]
            return values.reshape(shape)

        return replace(expected, load=load)

    def _take(self, member: str) -> Tensor:
        if member not in self.tensors:
            raise DamagedError(f"the document names {member!r}, which the file doesn't hold", where=self.where)
        self.taken.add(member)
        return self.tensors[member]

    def _misfit(self, member: str, expected: str, found: str) -> DamagedError:
        hint = "the tensor was changed after the document was written; without the document it reads as it is"
        return DamagedError(f"{member!r}: {expected} by the document, {found} in the file", where=self.where, hint=hint)
