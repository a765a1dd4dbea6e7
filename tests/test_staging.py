"""An output appears whole or not at all, never over another one, and a killed run's leftovers are cleared."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckptmigrate import staging
from ckptmigrate.destination import Destination, destination_of, existing_outputs, refuse_source, refuse_strange
from ckptmigrate.errors import OutputError
from ckptmigrate.staging import NOTE, REPLACED, clear_stale, publish_file, stage

FILES = ("model.data", "model.index")


def write(folder: Path, text: str = "new") -> None:
    for name in FILES:
        (folder / name).write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_published_files_appear_and_the_stage_goes(tmp_path: Path) -> None:
    with stage(Destination(tmp_path, "model")) as staged:
        write(staged.folder)
        assert names(tmp_path) == [staged.folder.name]
        staged.publish(FILES, "model.index")
    assert names(tmp_path) == list(FILES)


def test_nothing_is_left_of_a_run_that_fails(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b"
    with pytest.raises(ZeroDivisionError), stage(Destination(target, "model")) as staged:
        write(staged.folder)
        raise ZeroDivisionError
    assert names(tmp_path) == []


@pytest.mark.parametrize("taken", FILES)
def test_an_existing_file_is_never_replaced(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).write_text("old")
    with pytest.raises(OutputError, match="exists"), stage(Destination(tmp_path, "model")) as staged:
        write(staged.folder)
        staged.publish(FILES, "model.index")
    assert names(tmp_path) == [taken]
    assert (tmp_path / taken).read_text() == "old"


def test_force_replaces_the_old_output(tmp_path: Path) -> None:
    write(tmp_path, "old")
    (tmp_path / "model.data2").write_text("stale")
    destination = Destination(tmp_path, "model")
    with stage(destination) as staged:
        write(staged.folder)
        staged.publish(FILES, "model.index", replacing=("model.index", "model.data*"))
    assert names(tmp_path) == list(FILES)
    assert (tmp_path / "model.data").read_text() == "new"


def test_force_replaces_what_appeared_meanwhile(tmp_path: Path) -> None:
    """Another run published in parts: none of them is left beside the new output."""
    with stage(Destination(tmp_path, "model")) as staged:
        write(staged.folder)
        for name in ("model.index", "model.data1", "model.data2"):
            (tmp_path / name).write_text("other")
        staged.publish(FILES, "model.index", replacing=("model.index", "model.data*"))
    assert names(tmp_path) == list(FILES)


def test_force_leaves_alone_what_appeared_meanwhile_and_is_no_output(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder"), stage(Destination(tmp_path, "model")) as staged:
        write(staged.folder)
        (tmp_path / "model.data").mkdir()
        staged.publish(FILES, "model.index", replacing=FILES)
    assert names(tmp_path) == ["model.data"]


KILLED = """
import os, signal, sys
from pathlib import Path
from ckptmigrate import staging
folder, when = Path(sys.argv[1]), int(sys.argv[2])
calls = 0
link = os.link
def counted(*args):
    global calls
    if calls == when:
        os.kill(os.getpid(), signal.SIGKILL)
    calls += 1
    link(*args)
os.link = counted
with staging.stage(staging.Destination(folder, "model")) as staged:
    for name in ("model.data", "model.index"):
        (staged.folder / name).write_text("new")
    staged.publish(("model.data", "model.index"), "model.index")
    counted()
"""


@pytest.mark.parametrize(("when", "is_complete"), [(0, False), (1, False), (2, True)])
def test_a_killed_run_leaves_nothing_or_all_and_the_next_clears_up(
    tmp_path: Path, when: int, is_complete: bool
) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED, tmp_path, str(when)], check=False)
    assert ended.returncode == -9
    assert (tmp_path / "model.index").exists() == is_complete
    destination = Destination(tmp_path, "model")
    if is_complete:
        with pytest.raises(OutputError), stage(destination) as staged:
            write(staged.folder)
            staged.publish(FILES, "model.index")
    else:
        with stage(destination) as staged:
            write(staged.folder)
            staged.publish(FILES, "model.index")
    assert names(tmp_path) == list(FILES)


def test_a_stage_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    destination = Destination(tmp_path, "model")
    with stage(destination) as first:
        write(first.folder)
        with stage(destination) as second:
            write(second.folder, "second")
            second.publish(FILES, "model.index")
        with pytest.raises(OutputError, match="exists"):
            first.publish(FILES, "model.index")
    assert (tmp_path / "model.data").read_text() == "second"


def test_the_source_is_never_replaced(tmp_path: Path) -> None:
    write(tmp_path)
    source = tmp_path / "model.index"
    with pytest.raises(OutputError, match="is the source"):
        refuse_source([source], [source])


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="can't be written"), stage(Destination(tmp_path / "file" / "sub", "model")):
        pass


@pytest.mark.parametrize(
    ("text", "default", "folder", "name", "is_folder"),
    [
        ("out/model.ckpt", "ckpt-0", "out", "model.ckpt", False),
        ("out/", "ckpt-0", "out", "ckpt-0", True),
        ("out/model.ckpt.index", "ckpt-0", "out", "model.ckpt", False),
        ("model.safetensors", "", ".", "model.safetensors", False),
    ],
)
def test_destinations(text: str, default: str, folder: str, name: str, is_folder: bool) -> None:
    assert destination_of(text, default) == Destination(Path(folder), name, is_folder)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder"):
        destination_of(f"{tmp_path}/", "")


@pytest.mark.parametrize("text", ["out/.model.ckptmigrate-01234567", ".ckptmigrate-publishing"])
def test_a_destination_that_is_called_like_something_unfinished(text: str) -> None:
    with pytest.raises(OutputError, match="unfinished outputs"):
        destination_of(text, "")


@pytest.mark.parametrize("text", ["", "a\0b"])
def test_a_destination_that_can_be_no_path(text: str) -> None:
    with pytest.raises(OutputError):
        destination_of(text, "")


@pytest.mark.parametrize("call", ["mkdir", "opened"])
def test_other_runs_that_clear_a_stage_or_its_folder_away(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One took it for dead before it was locked; one that failed removed the folder, which it had made."""
    holder: Any = Path if call == "mkdir" else staging
    real, target, away = getattr(holder, call), tmp_path / "a" / "b", iter([True, True])

    def then(path: Path, *rest: int, **more: bool) -> Any:
        if path.parent == target and next(away, False):
            for folder in (path, target, target.parent):
                if folder.exists():
                    folder.rmdir()
        return real(path, *rest, **more)

    monkeypatch.setattr(holder, call, then)
    with stage(Destination(target, "model")) as staged:
        write(staged.folder)
        staged.publish(FILES, "model.index")
    assert next(away, None) is None
    assert names(target) == list(FILES)


def test_a_folder_in_which_none_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "opened", lambda folder: folder.rmdir() or os.open(folder, os.O_RDONLY))
    with pytest.raises(OutputError, match="No such file"), stage(Destination(tmp_path / "a", "model")):
        pass
    assert names(tmp_path) == []


def test_a_note_of_a_dead_stage_names_only_what_lies_in_it(tmp_path: Path) -> None:
    (tmp_path / "private").write_text("")
    dead = tmp_path / "out" / ".model.ckptmigrate-00000000"
    (dead / REPLACED).mkdir(parents=True)
    (dead / NOTE).write_text('["model.index", ["../../private"], ["../../../private"]]')
    clear_stale(Destination(tmp_path / "out", "model"))
    assert (names(tmp_path), names(tmp_path / "out")) == (["out", "private"], [])


def test_a_link_that_is_named_like_a_stage_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    write(tmp_path / "other")
    (tmp_path / ".model.ckptmigrate-00000000").symlink_to("other")
    clear_stale(Destination(tmp_path, "model"))
    assert names(tmp_path / "other") == list(FILES)


@pytest.mark.parametrize("name", [".model.ckptmigrate-backup", ".model.ckptmigrate-0000000"])
def test_a_folder_that_is_named_almost_like_a_stage_is_left_alone(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    write(tmp_path / name)
    clear_stale(Destination(tmp_path, "model"))
    assert names(tmp_path / name) == list(FILES)


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser gives folders away")
def test_a_stage_of_another_user_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "private").write_text("")
    dead = tmp_path / ".model.ckptmigrate-00000000"
    (dead / REPLACED).mkdir(parents=True)
    (dead / NOTE).write_text('["model.index", ["private", "model.index"], []]')
    (dead / "model.index").write_text("")
    os.chown(dead, 65534, 65534)
    clear_stale(Destination(tmp_path, "model"))
    assert names(tmp_path) == [dead.name, "private"]


def test_a_file_system_that_syncs_no_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def fsync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(handle)

    monkeypatch.setattr("os.fsync", fsync)
    publish_file(tmp_path / "model", b"new")
    assert (tmp_path / "model").read_bytes() == b"new"


def test_what_is_unfinished_is_private(tmp_path: Path) -> None:
    with stage(Destination(tmp_path, "model")) as staged:
        assert staged.folder.stat().st_mode & 0o077 == 0


INTERRUPTED = [("_fsync_folder", "_take_back"), ("_fsync_folder", "_rename_new"), ("_place", "_rename_new")]


@pytest.mark.parametrize("has_links", [True, False])
@pytest.mark.parametrize("points", INTERRUPTED)
def test_what_is_replaced_comes_back_although_that_is_interrupted_again(
    points: tuple[str, str], has_links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C, and once more while the older output is put back: that or the new one stands, whole."""
    write(tmp_path, "old")
    destination = Destination(tmp_path, "model")
    if not has_links:
        monkeypatch.setattr("os.link", no_links)
    with pytest.raises(KeyboardInterrupt), stage(destination) as staged:
        write(staged.folder)
        for point in points:
            monkeypatch.setattr(staging, point, once_interrupted(getattr(staging, point), of=staged.folder))
        staged.publish(FILES, "model.index", replacing=FILES)
    assert names(tmp_path) == list(FILES)
    assert [(tmp_path / name).read_text() for name in FILES] in (["old", "old"], ["new", "new"])


def no_links(*_: object) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


def once_interrupted(real: Callable[..., Any], of: Path) -> Callable[..., Any]:
    """Interrupted at its first call that puts something back (`_rename_new` places too, where there are no links)."""
    met: list[object] = []

    def call(*paths: Path) -> Any:
        if not met and (real.__name__ != "_rename_new" or REPLACED in paths[0].parts):
            met.append(paths)
            raise KeyboardInterrupt
        return real(*paths)

    return call


def put_folder(folder: Path, text: str = "new") -> None:
    (folder / "model" / "variables").mkdir(parents=True)
    (folder / "model" / "graph.pb").write_text(text)
    (folder / "model" / "variables" / "data").write_text(text)


PATTERNS = ("model", "model/graph.pb", "model/variables")


def test_a_folder_appears_as_one(tmp_path: Path) -> None:
    with stage(Destination(tmp_path, "model")) as staged:
        put_folder(staged.folder)
        staged.publish(("model",), "model")
    assert names(tmp_path) == ["model"]
    assert (tmp_path / "model" / "variables" / "data").read_text() == "new"


def test_an_existing_folder_is_never_replaced_or_mixed(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(OutputError, match="exists"), stage(Destination(tmp_path, "model")) as staged:
        put_folder(staged.folder)
        staged.publish(("model",), "model")
    assert names(tmp_path / "model") == []


def test_force_replaces_a_folder_whole(tmp_path: Path) -> None:
    put_folder(tmp_path, "old")
    (tmp_path / "model" / "variables" / "stale").write_text("old")
    destination = Destination(tmp_path, "model")
    with stage(destination) as staged:
        put_folder(staged.folder)
        staged.publish(("model",), "model", replacing=PATTERNS)
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model" / "variables") == ["data"]


def test_a_folder_comes_back_when_publishing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_folder(tmp_path, "old")
    destination = Destination(tmp_path, "model")

    def fail(folder: Path) -> None:
        raise OSError(5, "Input/output error", str(folder))

    with pytest.raises(OutputError, match="Input/output error"), stage(destination) as staged:
        put_folder(staged.folder)
        monkeypatch.setattr("ckptmigrate.staging._fsync_folder", fail)
        staged.publish(("model",), "model", replacing=PATTERNS)
    assert names(tmp_path) == ["model"]
    assert (tmp_path / "model" / "graph.pb").read_text() == "old"


KILLED_WITH_FOLDER = """
import os, sys
from pathlib import Path
from ckptmigrate import staging
target, point = Path(sys.argv[1]), sys.argv[2]
kill = lambda *_: os._exit(9)
setattr(staging, point, kill)
with staging.stage(staging.Destination(target, "model")) as staged:
    (staged.folder / "model").mkdir()
    (staged.folder / "model" / "graph.pb").write_text("new")
    staged.publish(("model",), "model", replacing=("model", "model/graph.pb", "model/variables"))
"""


@pytest.mark.parametrize(("point", "left"), [("_place", "old"), ("_fsync_folder", "new")])
def test_a_killed_run_leaves_a_whole_folder(point: str, left: str, tmp_path: Path) -> None:
    put_folder(tmp_path, "old")
    done = subprocess.run([sys.executable, "-c", KILLED_WITH_FOLDER, str(tmp_path), point], check=False)
    assert done.returncode == 9
    clear_stale(Destination(tmp_path, "model"))
    assert names(tmp_path) == ["model"]
    assert (tmp_path / "model" / "graph.pb").read_text() == left


KILLED_WITHOUT_LINKS = """
import os, sys
from pathlib import Path
from ckptmigrate import destination, staging
def link(*_):
    raise PermissionError(1, "Operation not permitted")
def rename(*paths, real=staging._rename_new):
    real(*paths)
    os._exit(9)
os.link, staging._rename_new = link, rename
to = destination.Destination(Path(sys.argv[1]), "model")
files = ("model.data", "model.index")
with staging.stage(to) as staged:
    for name in files:
        (staged.folder / name).write_text("new")
    staged.publish(files, "model.index", replacing=files)
"""


def test_a_run_that_was_killed_where_there_are_no_links_is_taken_back_whole(tmp_path: Path) -> None:
    """Its data file stands already, its index doesn't."""
    write(tmp_path, "old")
    done = subprocess.run([sys.executable, "-c", KILLED_WITHOUT_LINKS, str(tmp_path)], check=False)
    assert (done.returncode, (tmp_path / "model.data").read_text()) == (9, "new")
    clear_stale(Destination(tmp_path, "model"))
    assert names(tmp_path) == list(FILES)
    assert [(tmp_path / name).read_text() for name in FILES] == ["old", "old"]


def test_a_folder_that_holds_other_things(tmp_path: Path) -> None:
    put_folder(tmp_path)
    destination = Destination(tmp_path, "model")
    refuse_strange(destination, existing_outputs(destination, PATTERNS))
    listed = (*PATTERNS, "model/variables/data")
    refuse_strange(destination, existing_outputs(destination, listed))
    (tmp_path / "model" / "variables" / "data.bak").write_text("")
    with pytest.raises(OutputError, match=r"would be lost: data\.bak"):
        refuse_strange(destination, existing_outputs(destination, listed))
    (tmp_path / "model" / "thesis.tex").write_text("")
    with pytest.raises(OutputError, match=r"would be lost: thesis\.tex"):
        refuse_strange(destination, existing_outputs(destination, PATTERNS))


@pytest.mark.parametrize("name", ["checkpoint", "model.index", "model.data-00000-of-00001"])
def test_a_folder_of_the_name_of_an_output_file_is_kept(name: str, tmp_path: Path) -> None:
    (tmp_path / name / "mine").mkdir(parents=True)
    destination = destination_of(f"{tmp_path}/", "model")
    existing = existing_outputs(destination, ["model.index", "model.data-[0-9]*"])
    with pytest.raises(OutputError, match="is a folder, where a file of the output goes"):
        refuse_strange(destination, existing)


@pytest.mark.parametrize("kind", ["pipe", "link to a pipe"])
def test_a_pipe_is_never_replaced(kind: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link to a pipe").symlink_to("pipe")
    with pytest.raises(OutputError, match="is a device, a pipe or a socket"):
        publish_file(tmp_path / kind, b"{}")
    assert names(tmp_path) == ["link to a pipe", "pipe"]


@pytest.mark.parametrize("name", ["null", "stdout"])
def test_nothing_among_the_devices_is_replaced(name: str) -> None:
    with pytest.raises(OutputError, match="is a device, a pipe or a socket"):
        refuse_strange(Destination(Path("/dev"), name), [Path("/dev", name)])


def test_a_small_file_never_replaces_a_folder(tmp_path: Path) -> None:
    (tmp_path / "report.json" / "mine").mkdir(parents=True)
    with pytest.raises(OutputError, match="is a folder"):
        publish_file(tmp_path / "report.json", b"{}")
    assert [path.name for path in tmp_path.rglob("*")] == ["report.json", "mine"]


def test_a_source_inside_the_folder_is_refused(tmp_path: Path) -> None:
    put_folder(tmp_path)
    inside = tmp_path / "model" / "variables" / "data"
    with pytest.raises(OutputError, match="never written to"):
        refuse_source([tmp_path / "model"], [inside])


@pytest.mark.parametrize(("text", "expected"), [("a/b", ("a", "b")), ("a/b/", ("a", "b")), ("b", (".", "b"))])
def test_a_folder_is_named_by_itself(text: str, expected: tuple[str, str]) -> None:
    assert destination_of(text, "", writes_folder=True) == Destination(Path(expected[0]), expected[1])


@pytest.mark.parametrize("text", ["", ".", "/", "a/..", "a\0b"])
def test_no_name_for_a_folder(text: str) -> None:
    with pytest.raises(OutputError, match="is no path"):
        destination_of(text, "", writes_folder=True)
