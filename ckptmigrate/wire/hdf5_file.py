"""Writing HDF5 files: groups with attributes, and datasets. Bytes that lie raw in the source the kernel copies.

HDF5 makes the structure, with room for the elements, which are put there once it has closed the file.
Files of the earliest format version, without times: the same input gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ckptmigrate.errors import OutputError, output_errors
from ckptmigrate.tiles import pieces
from ckptmigrate.wire.hdf5_attributes import stored_name
from ckptmigrate.wire.hdf5_sink import Sink
from ckptmigrate.wire.output_file import OutputFile

# What Keras keeps an attribute below: object headers hold 64 KiB (keras/src/legacy/saving/legacy_h5_format.py).
MAX_ATTRIBUTE_BYTES = 64512

Value = str | Sequence[str]


@dataclass(frozen=True, slots=True)
class Source:
    """A dataset to be written.

    Attributes:
        shape, dtype: Its form; `dtype` little-endian.
        load: Gives its elements.
        named: The name of a type that HDF5 lacks: kept as opaque bytes with an attribute `dtype`, as Keras 3 does.
        raw: File and offset of the very bytes, where they lie somewhere.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    load: Callable[[], np.ndarray[Any, Any]]
    named: str = ""
    raw: tuple[Path, int] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the elements."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


def write_hdf5(
    path: Path,
    groups: Mapping[str, Mapping[str, Value]],
    datasets: Mapping[str, Source],
    *,
    on_bytes: Callable[[int], None] = lambda count: None,
) -> tuple[int, int]:
    """Writes a new file and brings it to the disk.

    Args:
        path: Where; nothing may be there.
        groups: Group ("" for the root) -> its attributes; a list of texts too long for one is cut into `name0`,
            `name1`..., as Keras does.
        datasets: By path; groups on the way are made.
        on_bytes: Told how many bytes of elements were just written.

    Returns:
        Bytes that came through this process, and bytes that the kernel copied.

    Raises:
        OutputError: It can't be written.
    """
    import h5py

    places: dict[str, int] = {}
    moved = 0
    with OutputFile(path) as target:
        with _told(target) as sink, h5py.File(sink, "w") as file:
            make = _Maker(file)
            for group in sorted(groups):  # those above others come first
                made = make.group(group) if group else file
                for name, value in groups[group].items():
                    _put(made.attrs, name, value)
            for name, source in datasets.items():
                if sink.error is not None:
                    break
                if source.dtype.kind != "O":
                    places[name] = make.room(name, source)
                    continue
                make.texts(name, source.load())
                moved += source.nbytes
                on_bytes(source.nbytes)
        counts = {True: 0, False: moved}
        for name, at in places.items():
            counts[_filled(target, at, name, datasets[name], on_bytes)] += datasets[name].nbytes
        target.sync()
    return counts[False], counts[True]


@contextmanager
def _told(target: OutputFile) -> Iterator[Sink]:
    """What HDF5 writes to; tells afterwards what it had to say."""
    sink = Sink(target)
    try:
        with output_errors(target.path):
            yield sink
    except RuntimeError as error:
        message = f"can't be written: {str(error).partition(chr(10))[0]}"
        raise OutputError(message, where=str(target.path)) from error
    finally:
        if sink.error is not None:
            raise sink.error


def _put(attributes: Any, name: str, value: Value) -> None:
    if isinstance(value, str):
        is_utf8 = not any("\udc80" <= letter <= "\udcff" for letter in value)
        attributes[name] = value if is_utf8 else np.bytes_(stored_name(value))  # else h5py would refuse it
        return
    texts = [stored_name(text) for text in value]
    width = max(map(len, texts), default=1) or 1
    step = max(1, MAX_ATTRIBUTE_BYTES // width)
    if len(texts) <= step:
        attributes[name] = np.array(texts, f"S{width}")
        return
    for number, begin in enumerate(range(0, len(texts), step)):
        attributes[f"{name}{number}"] = np.array(texts[begin : begin + step], f"S{width}")


class _Maker:
    """Makes groups, and datasets in one piece, with those groups on the way that aren't there."""

    def __init__(self, file: Any) -> None:
        import h5py

        self.file = file
        self.links = h5py.h5p.create(h5py.h5p.LINK_CREATE)
        self.links.set_create_intermediate_group(True)
        self.plain = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        self.plain.set_obj_track_times(False)
        self.roomy = self.plain.copy()
        self.roomy.set_layout(h5py.h5d.CONTIGUOUS)
        self.roomy.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        self.roomy.set_fill_time(h5py.h5d.FILL_TIME_NEVER)

    def group(self, name: str) -> Any:
        """A new group."""
        import h5py

        return h5py.Group(h5py.h5g.create(self.file.id, stored_name(name), self.links))

    def texts(self, name: str, values: np.ndarray[Any, Any]) -> None:
        """Makes a dataset of bytes objects."""
        import h5py

        texts = np.asarray(values, h5py.string_dtype("ascii"))
        stored, space = h5py.h5t.py_create(texts.dtype, logical=True), h5py.h5s.create_simple(texts.shape)
        made = h5py.h5d.create(self.file.id, stored_name(name), stored, space, self.plain, self.links)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, texts)

    def room(self, name: str, source: Source) -> int:
        """Makes a dataset whose elements come later; gives their place in the file."""
        import h5py

        kind = np.dtype(f"V{source.dtype.itemsize}") if source.named else source.dtype
        space = h5py.h5s.create_simple(source.shape)
        stored = h5py.h5t.py_create(kind, logical=True)
        made = h5py.h5d.create(self.file.id, stored_name(name), stored, space, self.roomy, self.links)
        if source.named:
            h5py.Dataset(made).attrs["dtype"] = source.named
        return int(made.get_offset() or 0)


def _filled(target: OutputFile, at: int, name: str, source: Source, on_bytes: Callable[[int], None]) -> bool:
    """Puts a dataset's bytes in their place; True when the kernel copied them."""
    if source.raw is not None:
        return target.copy(*source.raw, source.nbytes, at, name=name, on_bytes=on_bytes)
    for piece in pieces(source.load(), source.dtype):
        done = target.write(piece.data, at)
        at += done
        on_bytes(done)
    return False
