"""Where an output may go: never onto another one unasked, never onto the source, and never by halves."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ckptmigrate.cli.main import main
from ckptmigrate.conversion import convert
from ckptmigrate.errors import OutputError


@pytest.fixture
def here(fixtures, tmp_path, monkeypatch):
    """An empty folder to work in, with a few sources."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(fixtures / "tf1/adam", "run")
    shutil.copy(fixtures / "npz/plain/model.npz", "model.npz")
    shutil.copy(fixtures / "safetensors/plain/model.safetensors", "model.safetensors")
    return tmp_path


def tree(folder: Path) -> dict[str, object]:
    """Every file with its contents."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


@pytest.fixture
def refused(here, capsys):
    """Runs a command that must end with exit code 7, one error, and nothing changed; gives what it said."""

    def run(*words: str) -> str:
        before = tree(here)
        for extra in ([], ["--json"]):
            capsys.readouterr()
            assert main([*words, *extra]) == 7
            assert tree(here) == before
        said = capsys.readouterr()
        assert "bug" not in said.out + said.err
        main(list(words))
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        return told.out + told.err

    return run


@pytest.mark.parametrize(
    ("source", "destination", "to"),
    [
        ("run/model.ckpt-3", "run/model.ckpt-3", "tf2"),
        ("run/model.ckpt-3", "run/model.ckpt-3.index", "tf2"),
        ("run", "run/model.ckpt-3", "tf1"),
        ("run/model.ckpt-3", "./run/../run/model.ckpt-3", "tf1"),
        ("run/model.ckpt-3", "by_link/model.ckpt-3", "tf1"),
        ("by_link", "run/model.ckpt-3", "tf1"),
        ("run/model.ckpt-3", "run/", "tf2"),
        ("model.npz", "model.npz", "npz"),
        ("model.npz", "hard.npz", "npz"),
        ("model.npz", "soft.npz", "npz"),
        ("soft.npz", "model.npz", "npz"),
        ("model.npz", "hard.npz", "safetensors"),
        ("model.safetensors", "model.safetensors", "npz"),
        ("model.safetensors", "model.safetensors", "safetensors"),
    ],
)
def test_the_source_is_never_written(source, destination, to, here, refused):
    (here / "by_link").symlink_to("run")
    os.link("model.npz", "hard.npz")
    (here / "soft.npz").symlink_to("model.npz")
    refused("convert", source, destination, "--to", to)
    assert "is the source" in refused("convert", source, destination, "--to", to, "--force")


@pytest.mark.parametrize("force", [False, True])
def test_a_destination_that_is_a_link(force, here, capsys):
    """The link is replaced, not what it points to; without --force neither."""
    (here / "precious").write_text("precious")
    for name, target in (("standing.npz", "precious"), ("dangling.npz", "nowhere")):
        (here / name).symlink_to(target)
        code = main(["convert", "model.npz", name, "--to", "npz", *["--force"] * force])
        assert code == (0 if force else 7), capsys.readouterr().err
        assert (here / name).is_symlink() != force
    assert (here / "precious").read_text() == "precious"
    assert not (here / "nowhere").exists()


@pytest.mark.parametrize("destination", ["model.npz/x", "model.npz/deeper/x.npz", "/dev/null/x"])
def test_a_folder_that_is_a_file(destination, refused):
    assert "can't be written" in refused("convert", "model.safetensors", destination, "--to", "npz")


@pytest.mark.parametrize("destination", ["", "run", "run/", ".", "..", "new/", "n" * 256, "a/" * 2100 + "x"])
def test_no_place_for_a_file(destination, refused):
    refused("convert", "model.safetensors", destination, "--to", "npz")


@pytest.mark.parametrize("destination", ["", "n" * 300, "n" * 250, "model.npz/", "/proc/x/y"])
def test_no_place_for_a_bundle(destination, refused):
    refused("convert", "run", destination, "--to", "tf2")


@pytest.mark.parametrize(
    ("destination", "files"),
    [
        ("out", ["out.data-00000-of-00001", "out.index"]),
        ("./out", ["out.data-00000-of-00001", "out.index"]),
        ("new/deep/out", ["new/deep/out.data-00000-of-00001", "new/deep/out.index"]),
        ("new/", ["new/checkpoint", "new/ckpt-0.data-00000-of-00001", "new/ckpt-0.index"]),
        ("empty", ["empty/checkpoint", "empty/ckpt-0.data-00000-of-00001", "empty/ckpt-0.index"]),
        ("out.index", ["out.data-00000-of-00001", "out.index"]),
        ("a[b]*?", ["a[b]*?.data-00000-of-00001", "a[b]*?.index"]),
        ("new\nline", ["new\nline.data-00000-of-00001", "new\nline.index"]),
        ("ä\udcff", ["ä\udcff.data-00000-of-00001", "ä\udcff.index"]),
        ("ä" * 117, ["ä" * 117 + ".data-00000-of-00001", "ä" * 117 + ".index"]),
    ],
)
def test_places(destination, files, here, capsys):
    (here / "empty").mkdir()
    before = set(tree(here))
    assert main(["convert", "run", destination, "--to", "tf2"]) == 0, capsys.readouterr().err
    made = {name for name in set(tree(here)) - before if (here / name).is_file()}
    assert made == set(files)
    assert main(["convert", "run", destination, "--to", "tf2"]) == 7
    assert main(["convert", "run", destination, "--to", "tf2", "--force"]) == 0
    assert main(["verify", "run", str(here / files[-1])]) == 0
    assert {name for name in set(tree(here)) - before if (here / name).is_file()} == set(files)


def test_force_clears_parts_that_the_new_output_lacks(here):
    assert main(["convert", "run", "m.safetensors", "--to", "safetensors", "--max-shard-size", "200"]) == 0
    others = ["m-1-of-2-backup.safetensors", "m-backup.safetensors"]
    for name in others:
        (here / name).write_text("not ours")
    assert main(["convert", "run", "m.safetensors", "--to", "safetensors", "--force"]) == 0
    assert sorted(p.name for p in here.glob("m[.-]*")) == [*others, "m.safetensors"]


def test_force_leaves_copies_of_an_older_output_alone(here):
    assert main(["convert", "run", "out", "--to", "tf2"]) == 0
    for name in ("out.index", "out.data-00000-of-00001"):
        shutil.copy(name, f"{name}.bak")
    assert main(["convert", "run", "out", "--to", "tf1", "--force"]) == 0
    assert len(list(here.glob("out.*.bak"))) == 2


@pytest.mark.parametrize("destination", ["pipe", "socket", "device"])
@pytest.mark.parametrize("force", [[], ["--force"]])
def test_what_no_file_replaces(destination, force, here, refused):
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
    (here / "device").symlink_to("/dev/null")
    for words in (
        ["convert", "run", destination, "--to", "npz"],
        ["mapping", "draft", "run", "run", "-o", destination],
    ):
        assert "is a device, a pipe or a socket" in refused(*words, *force)
    (here / "out.json").symlink_to(destination)
    assert "is a device, a pipe or a socket" in refused("convert", "run", "m", "--to", "npz", "--report", "out.json")


def test_what_is_read_is_never_replaced(here, refused, fixtures):
    shutil.copy("model.npz", "other.npz")
    shutil.copytree(fixtures / "od/ssd_mobilenet_v2_tf1", "od")
    (here / "ported").mkdir()
    shutil.copy("od/pipeline.config", "ported")
    assert main(["mapping", "draft", "run", "run", "-o", "map.yaml"]) == 0
    for words in (
        ["average", "other.npz", "model.npz", "model.npz"],
        ["average", "other.npz", "model.npz", "other.npz"],
        ["convert", "run", "map.yaml", "--to", "npz", "--mapping", "map.yaml"],
        ["port-detection", "ported/pipeline.config", "od", "ported"],
    ):
        assert "which is never written to" in refused(*words, "--force")


def test_what_is_put_into_an_older_output_meanwhile_stays(here):
    convert("run", "out", to="savedmodel")

    def put(*_):
        Path("out/mine").touch()

    with pytest.raises(OutputError, match="would be lost: mine"):
        convert("run", "out", to="savedmodel", force=True, progress=put)
    assert Path("out/mine").exists()
    assert Path("out/saved_model.pb").exists()


def test_the_state_file_of_a_training_stays(here, refused):
    """It says where the training goes on; a prefix leaves it alone, and an older output's is replaced."""
    shutil.copytree("run", "train")
    assert "other checkpoints, too: model.ckpt-3" in refused("convert", "run", "train/", "--to", "tf2", "--force")
    state = Path("train/checkpoint").read_bytes()
    assert main(["convert", "run", "train/ckpt-0", "--to", "tf2"]) == 0
    assert Path("train/checkpoint").read_bytes() == state
    Path("train/checkpoint").write_text("notes")
    assert "is no state file" in refused("convert", "run", "train/", "--to", "tf2", "--force")


@pytest.mark.parametrize("name", ["package.json", "index.html", "batch.json"])
def test_a_report_replaces_nothing_but_a_report(name, here, refused):
    (here / name).write_text('{"ckptmigrate-batch": 1, "entries": [{"from": "run", "to": "m.npz", "format": "npz"}]}')
    for words in (["convert", "run", "m.npz", "--to", "npz"], ["batch", name]):
        assert "is no report" in refused(*words, "--report", name)


@pytest.mark.parametrize("name", ["report.json", "report.html"])
def test_a_report_replaces_an_older_one(name, here):
    (here / name).touch()  # as mktemp does
    for number in range(2):
        assert main(["convert", "run", f"{number}.npz", "--to", "npz", "--report", name]) == 0
        assert f"{number}.npz" in (here / name).read_text()


def test_a_report_does_not_replace_the_output(here, capsys):
    name = "m.safetensors.index.json"
    words = ["convert", "run", "m.safetensors", "--to", "safetensors", "--max-shard-size", "200", "--report", name]
    assert main(words) == 7
    assert "is no report" in capsys.readouterr().out
    assert main(["verify", "run", name]) == 0


def test_the_mode_follows_the_source(here):
    (here / "run/model.ckpt-3.index").chmod(0o600)
    (here / "run/model.ckpt-3.data-00000-of-00001").chmod(0o600)
    for to, name in (("npz", "m.npz"), ("safetensors", "m.safetensors"), ("tf2", "m")):
        assert main(["convert", "run", name, "--to", to]) == 0
    assert {p.stat().st_mode & 0o777 for p in here.glob("m[.]*") if p.name not in ("model.npz",)} == {0o600}


@contextmanager
def unprivileged() -> Iterator[None]:
    """Permissions mean nothing to the superuser, so be somebody else."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def reachable(here):
    """The folder, with a way to it for everybody."""
    modes = {}
    for folder in here.parents:
        mode = folder.stat().st_mode & 0o777
        if not mode & 0o001 and os.access(folder, os.W_OK):
            modes[folder] = mode
            folder.chmod(mode | 0o011)
    here.chmod(0o777)
    yield here
    for folder, mode in modes.items():
        folder.chmod(mode)


def test_a_folder_without_permission(reachable, capsys):
    assert main(["convert", "run", "warm", "--to", "npz"]) == 0  # imports what it needs
    for name, mode in (("closed", 0o000), ("unwritable", 0o555), ("blind", 0o333)):
        (reachable / name).mkdir()
        (reachable / name).chmod(mode)
        for destination in (f"{name}/m.npz", f"{name}/deeper/m.npz"):
            with unprivileged():
                code = main(["convert", "run", destination, "--to", "npz"])
            said = capsys.readouterr()
            if name != "blind":
                assert code == 7, said.err
            assert code in (0, 7)
            assert "bug" not in said.err
            assert ".ckptmigrate-" not in "".join(p.name for p in (reachable / name).iterdir())


def test_a_source_without_permission(reachable, capsys):
    assert main(["inspect", "run"]) == 0
    shutil.copytree("run", "closed")
    Path("closed").chmod(0)
    for name in ("index", "data-00000-of-00001"):
        shutil.copytree("run", f"no_{name[:4]}")
        Path(f"no_{name[:4]}/model.ckpt-3.{name}").chmod(0)
    Path("model.npz").chmod(0)
    Path("model.safetensors").chmod(0)
    sources = ["closed", "closed/model.ckpt-3", "no_inde/model.ckpt-3", "no_data/model.ckpt-3", "no_inde", "no_data"]
    for source in [*sources, "model.npz", "model.safetensors"]:
        with unprivileged():
            code = main(["convert", source, "out.npz", "--to", "npz"])
        said = capsys.readouterr()
        assert (source, code) == (source, 3), said.err
        assert "bug" not in said.err
        assert not Path("out.npz").exists()
