"""Remote files: local images of them, filled block by block as their bytes are wanted.

An image is a sparse local file of the remote one's name, size and time. Readers look at names and sizes as they do of
local files; before they read bytes they say which ones they want (`want`), and only the blocks that hold these are
fetched. Images go when nobody holds them any more. Each process has a folder of its own for them: a forked one reads
its parent's, and leaves them where they are.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ckptmigrate.errors import SourceError, UsageError, output_errors
from ckptmigrate.urls import ROOTS, is_remote, parts_of
from ckptmigrate.wire.names import STAGE_MARK
from ckptmigrate.wire.state_file import STATE_NAME
from ckptmigrate.wire.store import WHOLE_FOLDER, Entry, listing, read_range

BLOCK = 256 << 10  # bytes: what is fetched at once, at the least
MAX_REQUEST = 32 << 20  # bytes of one request; who reads on and on gets twice as much each time, up to this

_HINTED = 100  # names
_INDEXES = (STATE_NAME, ".json")  # files that name others beside them
_END = re.compile(
    r"(\.(index|meta|data-.*|safetensors|weights\.h5|[a-z0-9]+)|-(\d{5,}|\?{5})-of-\d{5,})$"
)  # after the stem

_CHANGED = "wait until nobody writes it, and run this again; a program closes what it opened before"


@dataclass(slots=True)
class Image:
    """One remote file and its local image.

    Attributes:
        filesystem, url: Where it is from.
        path: The image.
        listed: What the store said of it when it was listed.
        has: 1 for each block that is there.
        seen: What the store says of this state of it, once bytes were fetched.
        following, run: The block behind the last one that was fetched, and how many were fetched with it.
        owner: The process that made it.
        lock: Held while blocks are fetched.
    """

    filesystem: Any
    url: str
    path: Path
    listed: Entry
    has: bytearray
    seen: tuple[str, ...] = ()
    following: int = -1
    run: int = 0
    owner: int = field(default_factory=os.getpid)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def want(self, offset: int, size: int | None) -> None:
        """Fetches the blocks of a range that aren't there yet, and ahead of it when it follows the last one."""
        whole = self.listed.size
        first, last = offset // BLOCK, -(-(whole if size is None else min(offset + size, whole)) // BLOCK)
        with self.lock:
            while (first := self.has.find(0, first, last)) >= 0:
                ahead = 2 * self.run if first == self.following else 0
                most = first + max(1, MAX_REQUEST // BLOCK)
                end = min(max(last, first + ahead), most, len(self.has))
                if (there := self.has.find(1, first, end)) >= 0:
                    end = there
                self._fetch(first * BLOCK, min(end * BLOCK, whole))
                self.has[first:end] = b"\1" * (end - first)
                self.following, self.run = end, end - first

    def _fetch(self, start: int, end: int) -> None:
        data, now = read_range(self.filesystem, self.url, start, end)
        self.seen = self.seen or now.identity
        if len(data) != end - start or now.size != self.listed.size or self.seen != now.identity:
            message = f"changed while it was read, {end - start} bytes at byte {start}"
            raise SourceError(message, where=self.url, hint=_CHANGED)
        with output_errors(self.path), self.path.open("r+b") as file:
            file.seek(start)
            file.write(data)


_IMAGES: dict[str, Image] = {}  # by path
_USERS: Counter[Path] = Counter()  # of a path: its images, or those beside it
_LOCK = threading.Lock()  # of both, and of the folder they lie in; never held while a store is asked


def want(path: Path, offset: int = 0, size: int | None = None) -> None:
    """Sees to it that a range of a file is there, if it is an image; all of it where no size is given.

    Raises:
        SourceError: It can't be fetched, or was changed since it was first looked at.
        OutputError: There is no room for it.
    """
    if _IMAGES and (image := _IMAGES.get(str(path))) is not None:
        image.want(offset, size)


def fetch(files: Iterable[Path]) -> None:
    """Sees to it that files are there whole, for other programs to read."""
    for file in files:
        want(file)


def is_image(path: Path) -> bool:
    """Whether some bytes of a file may still have to be fetched."""
    return bool(_IMAGES) and str(path) in _IMAGES


def image(url: str) -> Path:
    """The local path of a URL, with images of what is there and beside it.

    Raises:
        UsageError: It is no URL of a file, or nothing is installed that knows such URLs.
        SourceError: It can't be looked at.
    """
    path = _local(url)
    scheme, *names = parts_of(url)
    there = listing(f"{scheme}://{'/'.join(names)}")
    wanted = list(there.files) if there.is_folder else _related(path.name, there.files)
    files = {Path(_root(), *parts_of(name)): name for name in wanted}
    with _LOCK, output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = None if there.is_folder else path.parent
        known = [old for old in map(Path, _IMAGES) if path in old.parents or old.parent == beside]
        _forget({old for old in known if _IMAGES[str(old)].url not in there.files})
        _prune(path)
        if url.endswith("/") and files:
            path.mkdir(exist_ok=True)
        for file, name in files.items():
            _make(there.filesystem, name, file, there.files[name])
    return path


def _related(name: str, urls: Iterable[str]) -> list[str]:
    """Of the files beside one those that its checkpoint may need; where nothing is like it, some for a hint.

    Args:
        name: The one that is asked for, or a bundle's prefix.
        urls: Of all of them.
    """
    if name.endswith(_INDEXES):
        return list(urls)
    stem = _END.sub("", name) or name
    found = [url for url in urls if url.rpartition("/")[2].startswith(stem)]
    return found or sorted(urls)[:_HINTED]


def known(url: str) -> Path:
    """The local path of a URL; what is held there is not looked at again.

    Raises:
        UsageError, SourceError: See `image`.
    """
    path = _local(url)
    with _LOCK:
        is_held = _user(path) in _USERS
    return path if is_held else image(url)


def hold(url: str) -> Path:
    """`image`, whose files stay until `release`, of all that hold them at the same time."""
    path = _local(url)
    with _LOCK:
        _USERS[_user(path)] += 1
    try:
        return image(url)
    except BaseException:
        release(path)
        raise


def release(path: Path) -> None:
    """Ends one `hold` of what that gave."""
    user = _user(path)
    with _LOCK:
        _USERS[user] -= 1
        if not _USERS[user]:
            del _USERS[user]
            _forget({user, *(old for old in map(Path, _IMAGES) if old.parent == user.parent)})


def _user(path: Path) -> Path:
    return path.parent if path.name in WHOLE_FOLDER else path


@contextmanager
def held(path: str | Path) -> Iterator[Path]:
    """A local path as it is; of a URL the image, which is held meanwhile."""
    if not is_remote(path):
        yield Path(path)
        return
    there = hold(str(path))
    try:
        yield there
    finally:
        release(there)


def forget(path: Path) -> None:
    """Removes an image, or those in a folder, unless somebody holds them."""
    with _LOCK:
        _forget({path})


def _forget(paths: set[Path]) -> None:
    for name in list(_IMAGES):
        file = Path(name)
        if paths.isdisjoint((file, *file.parents)) or _is_held(file):
            continue
        if _IMAGES.pop(name).owner == os.getpid():
            file.unlink(missing_ok=True)


def _is_held(file: Path) -> bool:
    return any(user in (file, *file.parents) or user.parent == file.parent for user in _USERS)


def _prune(path: Path) -> None:
    """Removes folders that have no files any more: a store has none of those. Outputs that are being written stay."""
    for folder in (*sorted((f for f in path.rglob("*") if f.is_dir()), reverse=True), path):
        if STAGE_MARK not in str(folder):
            with suppress(OSError):
                folder.rmdir()


def _make(filesystem: Any, url: str, path: Path, listed: Entry) -> None:
    """An image, unless there is one of this state; of a file that somebody reads the state that was read stays."""
    old = _IMAGES.get(str(path))
    if old is not None and path.exists() and (old.listed == listed or (old.seen and _is_held(path))):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with path.open("xb") as file:
        file.truncate(listed.size)
    if listed.time is not None:
        os.utime(path, (listed.time, listed.time))
    _IMAGES[str(path)] = Image(filesystem, url, path, listed, bytearray(-(-listed.size // BLOCK)))


def _local(url: str) -> Path:
    """Where the image of a URL lies."""
    scheme, *names = parts_of(url)
    if scheme in ("file", "local"):
        raise UsageError("a file of this machine", where=url, hint="name its path")
    if ".." in names or "." in names or "\0" in url:
        raise UsageError("a URL with dots for folders", where=url, hint="write the folders out")
    return Path(_root(), scheme, *names)


def _root() -> str:
    """The folder of this process' images, which goes when it ends."""
    from multiprocessing.util import Finalize

    with _LOCK:
        if os.getpid() not in ROOTS:
            if not ROOTS:
                os.register_at_fork(before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_after_fork)
            root = os.path.realpath(tempfile.mkdtemp(prefix="ckptmigrate-remote-"))
            Finalize(None, shutil.rmtree, (root, True), exitpriority=0)  # not atexit: workers of a pool pass that over
            ROOTS[os.getpid()] = root
        return ROOTS[os.getpid()]


def _after_fork() -> None:
    for image in _IMAGES.values():
        image.lock = threading.Lock()  # a thread that this process lacks may have held it
    _LOCK.release()
