"""Stores: what lies in them, and what they have to say, as errors of ours. Only this module knows fsspec."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

from ckptmigrate.errors import CkptMigrateError, SourceError, UsageError

MAX_FILES = 20_000  # in a folder
WHOLE_FOLDER = ("saved_model.pb", "saved_model.pbtxt")  # a file that stands for all of its folder

_IDENTITY = ("ETag", "etag", "LastModified", "created", "mtime", "updated", "size")
_TIMES = ("LastModified", "mtime", "updated", "created")
_INSTALL = "pip install 'ckptmigrate[remote]'"


class Entry(NamedTuple):
    """What a store says of a file.

    Attributes:
        size: In bytes.
        identity: What tells this state of it from others.
        time: When it was written, in seconds since 1970; None where the store doesn't say.
    """

    size: int
    identity: tuple[str, ...]
    time: float | None


class Listing(NamedTuple):
    """What lies at a URL: whether that is a folder, and the files in it, else those beside it, by their URLs."""

    filesystem: Any
    is_folder: bool
    files: Mapping[str, Entry]


def filesystem_of(url: str) -> Any:
    """fsspec's filesystem for a URL."""
    import fsspec.core  # type: ignore[import-untyped]

    return fsspec.core.url_to_fs(url)[0]


def glob(pattern: str) -> list[str]:
    """The URLs that a pattern of one fits, sorted.

    Raises:
        UsageError, SourceError: See `remote_errors`.
    """
    scheme = pattern.partition("://")[0]
    with remote_errors(pattern):
        filesystem = filesystem_of(pattern)
        filesystem.invalidate_cache()
        return sorted(_url(scheme, name) for name in filesystem.glob(pattern))


def listing(url: str) -> Listing:
    """What lies at a URL, and beside it where that is a file.

    Raises:
        UsageError, SourceError: See `remote_errors`; or there are too many files.
    """
    with remote_errors(url):
        filesystem = filesystem_of(url)
        filesystem.invalidate_cache()
        is_folder = filesystem.isdir(url)
        found = filesystem.find(url, detail=True) if is_folder else _beside(filesystem, url)
        scheme = url.partition("://")[0]
        entries = found.items() if isinstance(found, dict) else ((facts["name"], facts) for facts in found)
        files = {
            _url(scheme, name): _entry(facts)
            for name, facts in entries
            if facts["type"] == "file" and not name.endswith("/")
        }
    if len(files) > MAX_FILES:
        raise SourceError(f"more than {MAX_FILES:,} files there", where=url, hint="name the checkpoint itself")
    return Listing(filesystem, is_folder, files)


def _beside(filesystem: Any, url: str) -> Any:
    parent, _, name = url.rpartition("/")
    lists = filesystem.find if name in WHOLE_FOLDER else filesystem.ls
    try:
        return lists(parent, detail=True)
    except (FileNotFoundError, NotImplementedError):
        return [filesystem.info(url)] if filesystem.exists(url) else []


def read_range(filesystem: Any, url: str, start: int, end: int) -> tuple[bytes, Entry]:
    """Bytes of a file, and what the store says of it after they were read.

    Raises:
        SourceError: They can't be fetched.
    """
    with remote_errors(url):
        data: bytes = filesystem.cat_file(url, start=start, end=end)
        filesystem.invalidate_cache()
        return data, _entry(filesystem.info(url))


def _entry(facts: Mapping[str, Any]) -> Entry:
    time = next((facts[name] for name in _TIMES if facts.get(name)), None)
    seconds = time.timestamp() if isinstance(time, datetime) else time
    identity = tuple(str(facts.get(name)) for name in _IDENTITY)
    return Entry(int(facts["size"] or 0), identity, seconds if isinstance(seconds, float | int) else None)


def _url(scheme: str, name: str) -> str:
    return f"{scheme}://{name.removeprefix(f'{scheme}://').strip('/')}"


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
