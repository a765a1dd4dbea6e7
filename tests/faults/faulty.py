"""A program that runs the command line again and again, each time with a fault at the next call that writes.

It reads one JSON document, {"words": [...], "folder": ..., "fault": ..., "after": bool, "old": folder or null, "then":
[...] or null}, and prints one JSON line for each run. In `words` and `then` the text `OUT` stands for the run's folder.
Several faults (`ENOSPC EIO`) take turns. Runs are forks, so that a fault may be the end of the process.
"""

from __future__ import annotations

import builtins
import errno
import gc
import hashlib
import io
import itertools
import json
import os
import shutil
import signal
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ckptmigrate.cli.main import main

# Calls that change a file system. Those that only take away can't run out of space.
ADDING = ("open", "write", "pwrite", "copy_file_range", "fsync", "mkdir", "link", "rename", "replace", "chmod")
TAKING = ("unlink", "rmdir")
ALIKE = 4
NEVER_REACHED = 64


class Faults:
    """Counts calls, of many alike in a row the first few; at the one numbered `when` it does what `fault` says."""

    def __init__(self) -> None:
        self.when, self.fault, self.after, self.count = -1, "", False, 0
        self.last = [""] * ALIKE

    def wrap(self, name: str) -> None:
        real = getattr(os, name)

        def call(*arguments: Any, **keywords: Any) -> Any:
            if name == "open" and not arguments[1] & os.O_CREAT:
                return real(*arguments, **keywords)
            if name == "write" and not stat.S_ISREG(os.fstat(arguments[0]).st_mode):
                return real(*arguments, **keywords)  # a pipe, which no disk stands behind
            if name in TAKING and self.fault.startswith("E"):
                return real(*arguments, **keywords)
            if self.fault == "SHORT":
                return _short(real, name, *arguments, **keywords)
            if self.last == [name] * ALIKE:
                return real(*arguments, **keywords)
            number, self.count, self.last = self.count, self.count + 1, [*self.last[1:], name]
            if number == self.when and not self.after:
                self._happen()
            try:
                return real(*arguments, **keywords)
            finally:
                if number == self.when and self.after:
                    self._happen()

        setattr(os, name, call)

    def _happen(self) -> None:
        if self.fault.startswith("E"):
            number = getattr(errno, self.fault)
            raise OSError(number, os.strerror(number))
        signal.raise_signal(getattr(signal, self.fault))


def _short(real: Callable[..., Any], name: str, *arguments: Any, **keywords: Any) -> Any:
    """A system that writes a few bytes at a time."""
    few = 1000
    if name in ("write", "pwrite"):
        descriptor, data, *rest = arguments
        return real(descriptor, memoryview(data)[:few], *rest)
    if name == "copy_file_range":
        source, target, size, *rest = arguments
        return real(source, target, min(size, few), *rest, **keywords)
    return real(*arguments, **keywords)


class Raw(io.RawIOBase):
    """A file that writes through `os.write`, so that faults meet what Python's own files write, too."""

    _descriptor = -1  # until it is open: a fault on the way is followed by a close

    def __init__(self, path: Any, flags: int) -> None:
        self._descriptor = os.open(path, flags, 0o666)

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data: Any) -> int:
        return os.write(self._descriptor, data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return os.lseek(self._descriptor, offset, whence)

    def truncate(self, size: int | None = None) -> int:
        size = self.tell() if size is None else size
        os.ftruncate(self._descriptor, size)
        return size

    def close(self) -> None:
        if not self.closed:
            super().close()
            if self._descriptor >= 0:
                os.close(self._descriptor)


_FLAGS = {"w": os.O_WRONLY | os.O_CREAT | os.O_TRUNC, "x": os.O_WRONLY | os.O_CREAT | os.O_EXCL}
_open = io.open


def open_(file: Any, mode: str = "r", buffering: int = -1, *text: Any, **keywords: Any) -> Any:
    if isinstance(file, int) or mode[0] not in _FLAGS:
        return _open(file, mode, buffering, *text, **keywords)
    binary = io.BufferedWriter(Raw(file, _FLAGS[mode[0]]))
    return binary if "b" in mode else io.TextIOWrapper(binary, *text, **keywords)


def install() -> Faults:
    faults = Faults()
    for name in (*ADDING, *TAKING):
        faults.wrap(name)
    io.open = builtins.open = open_
    return faults


def listing(folder: Path) -> dict[str, str]:
    """Every file under a folder, with its digest; links by what they say."""
    return {
        path.relative_to(folder).as_posix(): f"-> {path.readlink()}"
        if path.is_symlink()
        else ""
        if path.is_dir()
        else hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        for path in sorted(folder.rglob("*"))
    }


def forked(work: Callable[[], int], said: Path) -> int:
    """Runs in a fork, what it prints in a file; the exit code, negative for a signal."""
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    with _open(said, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    code = 99
    try:
        code = work()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def runs(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    faults = install()
    folder = Path(spec["folder"])

    def once(words: Sequence[str], out: Path, when: int, **fault: Any) -> dict[str, Any]:
        def work() -> int:
            faults.when, faults.count, faults.last = when, 0, [""] * ALIKE
            faults.fault, faults.after = fault.get("fault", ""), fault.get("after", False)
            code = main([word.replace("OUT", str(out)) for word in words])
            return code if faults.count > when >= 0 else code | NEVER_REACHED

        code = forked(work, folder / "said")
        code, reached = (code & ~NEVER_REACHED, False) if code & NEVER_REACHED and code > 0 else (code, True)
        return {"code": code, "reached": reached, "said": (folder / "said").read_text(), "files": listing(out)}

    def prepared(name: str) -> Path:
        out = folder / name
        if spec["old"]:
            shutil.copytree(spec["old"], out)
        else:
            out.mkdir()
        return out

    warm = prepared("warm")
    main([word.replace("OUT", str(warm)) for word in spec["words"]])  # imports what it needs
    gc.freeze()
    kinds = spec["fault"].split()
    for when in itertools.count(0 if spec["fault"] != "SHORT" else -1):
        out = prepared(str(when))
        run = once(spec["words"], out, when, fault=kinds[when % len(kinds)], after=spec["after"])
        if spec["then"] and run["reached"] and run["files"]:
            run["then"] = once(spec["then"], out, -1)
        shutil.rmtree(out)
        yield run
        if not run["reached"]:
            return


if __name__ == "__main__":
    with _open(os.dup(1), "w") as answers:
        sys.stdout = sys.stderr
        for run in runs(json.load(sys.stdin)):
            answers.write(json.dumps(run) + "\n")
