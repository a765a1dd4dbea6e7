"""Remote files, through fsspec: local images of them, filled block by block as their bytes are wanted, and sent back.

An image is a sparse local file of the remote one's name, size and time. Readers look at names and sizes as they do of
local files; before they read bytes they say which ones they want (`want`), and only the blocks that hold these are
fetched. What is written appears beside the images, as it does locally, and is then sent (`push`): each object appears
when its upload is complete, the one that makes the output exist last. This is the one module that knows fsspec.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ckptmigrate.errors import CkptMigrateError, SourceError, UsageError

BLOCK = 256 << 10  # bytes: what is fetched at once, at the least
MAX_REQUEST = 32 << 20  # bytes of one request; who reads on and on gets twice as much each time, up to this
MAX_FILES = 20_000  # in a folder

_URL = re.compile(r"([a-z][a-z0-9+.-]+)://(.+)", re.DOTALL)
_WHOLE_FOLDER = ("saved_model.pb", "saved_model.pbtxt")  # a file that stands for all of its folder
_IDENTITY = ("ETag", "etag", "LastModified", "created", "mtime", "updated", "size")
_TIMES = ("LastModified", "mtime", "updated", "created")
_INSTALL = "pip install 'ckptmigrate[remote]'"


def is_remote(path: object) -> bool:
    """Whether this is a URL rather than a path.

    >>> is_remote("s3://bucket/model.ckpt"), is_remote("models/s3")
    (True, False)
    """
    return _URL.fullmatch(str(path)) is not None


@dataclass(slots=True)
class Image:
    """One remote file and its local image.

    Attributes:
        filesystem, url: Where it is from.
        path, size: The image.
        listed, seen: What tells this state of the file from others: when it was listed, and when bytes were fetched.
        has: 1 for each block that is there.
        following, run: The block behind the last one that was fetched, and how many were fetched with it.
    """

    filesystem: Any
    url: str
    path: Path
    size: int
    listed: tuple[str, ...]
    has: bytearray
    seen: tuple[str, ...] = ()
    following: int = -1
    run: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def want(self, offset: int, size: int) -> None:
        """Fetches the blocks of a range that aren't there yet, and ahead of it when it follows the last one."""
        first, last = offset // BLOCK, -(-min(offset + size, self.size) // BLOCK)
        with self.lock:
            while (first := self.has.find(0, first, last)) >= 0:
                ahead = 2 * self.run if first == self.following else 0
                most = first + max(1, MAX_REQUEST // BLOCK)
                end = min(max(last, first + ahead), most, len(self.has))
                if (there := self.has.find(1, first, end)) >= 0:
                    end = there
                self._fetch(first * BLOCK, min(end * BLOCK, self.size))
                self.has[first:end] = b"\1" * (end - first)
                self.following, self.run = end, end - first

    def _fetch(self, start: int, end: int) -> None:
        with remote_errors(self.url):
            data = self.filesystem.cat_file(self.url, start=start, end=end)
            self.filesystem.invalidate_cache()
            now = self.filesystem.info(self.url)
        self.seen = self.seen or _identity(now)
        if len(data) != end - start or now["size"] != self.size or self.seen != _identity(now):
            message = f"changed while it was read, {end - start} bytes at byte {start}"
            raise SourceError(message, where=self.url, hint="wait until nobody writes it, and run this again")
        with self.path.open("r+b") as file:
            file.seek(start)
            file.write(data)


_ROOT: list[str] = []  # the folder of all images, once there is one
_IMAGES: dict[str, Image] = {}
_USERS: Counter[Path] = Counter()


def want(path: Path, offset: int = 0, size: int | None = None) -> None:
    """Sees to it that a range of a file is there, if it is an image; all of it where no size is given.

    Raises:
        SourceError: It can't be fetched, or was changed since it was first looked at.
    """
    if _IMAGES and (image := _IMAGES.get(str(path))) is not None:
        image.want(offset, image.size if size is None else size)


def fetch(files: Iterable[Path]) -> None:
    """Sees to it that files are there whole, for other programs to read."""
    for file in files:
        want(file)


def glob(pattern: str) -> list[str]:
    """The URLs that a pattern of one fits, sorted."""
    scheme = pattern.partition("://")[0]
    with remote_errors(pattern):
        filesystem = filesystem_of(pattern)
        filesystem.invalidate_cache()
        return sorted(f"{scheme}://{_key(name, scheme)}" for name in filesystem.glob(pattern))


def is_image(path: Path) -> bool:
    """Whether some bytes of a file may still have to be fetched."""
    return bool(_IMAGES) and str(path) in _IMAGES


def image(url: str) -> Path:
    """The local path of a URL, with images of what is there and beside it.

    Raises:
        UsageError: Nothing is installed that knows such URLs.
        SourceError: It can't be looked at.
    """
    match = _URL.fullmatch(url)
    assert match is not None
    scheme, key = match[1], match[2]
    parts = [part for part in key.split("/") if part]
    if ".." in parts or "." in parts or "\0" in key:
        raise UsageError("a URL with dots for folders", where=url, hint="write the folders out")
    with remote_errors(url):
        filesystem = filesystem_of(url)
        plain = f"{scheme}://{'/'.join(parts)}"
        filesystem.invalidate_cache()
        is_folder = filesystem.isdir(plain)
        files = _files(filesystem, plain, is_folder)
    path = Path(_root(), scheme, *parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    listed = {Path(_root(), scheme, *name.split("/")) for name in files}
    siblings = None if is_folder else path.parent
    known = [old for old in map(Path, _IMAGES) if path in old.parents or old.parent == siblings]
    forget(*(old for old in known if old not in listed))
    _prune(path)
    if url.endswith("/") and files:
        path.mkdir(exist_ok=True)
    for name, info in files.items():
        _make(filesystem, f"{scheme}://{name}", Path(_root(), scheme, *name.split("/")), info)
    return path


def _files(filesystem: Any, url: str, is_folder: bool) -> dict[str, Mapping[str, Any]]:
    """Names, without the scheme, and facts of the files in a folder, or beside a file."""
    scheme = url.partition("://")[0]
    if is_folder:
        found = filesystem.find(url, detail=True)
    else:
        parent, _, name = url.rpartition("/")
        lists = filesystem.find if name in _WHOLE_FOLDER else filesystem.ls
        try:
            listed = lists(parent, detail=True)
        except (FileNotFoundError, NotImplementedError):
            listed = [filesystem.info(url)] if filesystem.exists(url) else []
        found = listed if isinstance(listed, dict) else {entry["name"]: entry for entry in listed}
    files = {_key(name, scheme): entry for name, entry in found.items() if entry["type"] == "file"}
    if len(files) > MAX_FILES:
        raise SourceError(f"more than {MAX_FILES:,} files there", where=url, hint="name the checkpoint itself")
    return {name: entry for name, entry in files.items() if not name.endswith("/")}


def _prune(path: Path) -> None:
    """Removes folders that have no files any more: a store has none of those."""
    for folder in (*sorted((f for f in path.rglob("*") if f.is_dir()), reverse=True), path):
        with suppress(OSError):
            folder.rmdir()


def _key(name: str, scheme: str) -> str:
    return name.removeprefix(f"{scheme}://").strip("/")


def _make(filesystem: Any, url: str, path: Path, info: Mapping[str, Any]) -> None:
    old, listed, size = _IMAGES.get(str(path)), _identity(info), int(info["size"] or 0)
    if old is not None and old.listed == listed and path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with path.open("xb") as file:
        file.truncate(size)
    time = next((info[name] for name in _TIMES if info.get(name)), None)
    seconds = time.timestamp() if isinstance(time, datetime) else time
    if isinstance(seconds, float | int):
        os.utime(path, (seconds, seconds))
    _IMAGES[str(path)] = Image(filesystem, url, path, size, listed, bytearray(-(-size // BLOCK)))


def _identity(info: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(info.get(name)) for name in _IDENTITY)


@contextmanager
def held(url: str) -> Iterator[Path]:
    """`image`, whose files stay until this ends, and all that hold them at the same time."""
    path = image(url)
    _USERS[path] += 1
    try:
        yield path
    finally:
        _USERS[path] -= 1
        if not _USERS[path]:
            del _USERS[path]
            forget(path, *(Path(n) for n in _IMAGES if Path(n).parent == path.parent))


def forget(*paths: Path) -> None:
    """Removes local files that are there remotely, and those in folders, unless somebody holds them."""
    for path in paths:
        for name in [n for n in _IMAGES if n == str(path) or n.startswith(f"{path}/")]:
            file = Path(name)
            if not any(user in (file, *file.parents) or user.parent == file.parent for user in _USERS):
                file.unlink(missing_ok=True)
                del _IMAGES[name]


def url_of(path: Path) -> str:
    """The URL that a local path is an image of; "" for a path of this machine."""
    told = spoken(str(path))
    return told if _ROOT and told != str(path) else ""


def spoken(text: str) -> str:
    """A text with URLs in place of the local paths of images."""
    for root in _ROOT:
        if root in text:
            return re.sub(re.escape(root) + r"/([a-z][a-z0-9+.-]+)/", r"\1://", text)
    return text


def filesystem_of(url: str) -> Any:
    """fsspec's filesystem for a URL."""
    import fsspec.core  # type: ignore[import-untyped]

    return fsspec.core.url_to_fs(url)[0]


def _root() -> str:
    if not _ROOT:
        _ROOT.append(os.path.realpath(tempfile.mkdtemp(prefix="ckptmigrate-remote-")))
        atexit.register(shutil.rmtree, _ROOT[0], ignore_errors=True)
    return _ROOT[0]


@contextmanager
def remote_errors(url: str, kind: type[CkptMigrateError] = SourceError) -> Iterator[None]:
    """Turns whatever a store has to say into an error of ours.

    Args:
        url: What was asked for.
        kind: SourceError, or OutputError for writing.
    """
    try:
        yield
    except CkptMigrateError:
        raise
    except ImportError as error:
        raise UsageError(f"{url.partition('://')[0]}:// needs more: {error}", where=url, hint=_INSTALL) from error
    except ValueError as error:
        raise UsageError(f"can't be used: {error}", where=url, hint="s3://, gs://, memory://, https://...") from error
    except FileNotFoundError as error:
        raise kind("no such object, or no such bucket", where=url) from error
    except FileExistsError as error:
        raise kind("exists", where=url, hint="name another destination, or add --force") from error
    except PermissionError as error:
        hint = "check the credentials, and what they may do there"
        raise kind(f"not allowed: {_reason(error)}", where=url, hint=hint) from error
    except Exception as error:
        hint = "check the address, the network and the credentials"
        raise kind(f"the store says {type(error).__name__}: {_reason(error)}", where=url, hint=hint) from error


def _reason(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200] or "nothing more"
