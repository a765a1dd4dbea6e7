"""Sources that are missing, cut, changed or of another kind: the exit code, a place and a hint, and nothing written."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import pytest

from ckptmigrate.cli.main import main


@pytest.fixture
def here(fixtures, tmp_path, monkeypatch):
    """A folder with a source."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(fixtures / "tf1/sharded", "run")
    return tmp_path


@pytest.fixture
def told(here, capsys):
    """Runs a command twice, for people and for machines; gives the exit code, the text and the issues."""

    def run(*words: str) -> tuple[int, str, list[dict[str, str]]]:
        capsys.readouterr()
        code = main(list(words))
        said = capsys.readouterr()
        assert main([*words, "--json"]) == code
        document = json.loads(capsys.readouterr().out)
        assert "bug" not in said.err
        assert not Path("out").exists()
        assert [p for p in here.rglob("*") if ".ckptmigrate-" in p.name] == []
        return code, said.out + said.err, document["issues"]

    return run


@pytest.mark.parametrize(
    "path", ["run/model.ckp", "run/modle.ckpt", "run/model.ckpt-300", "run/model", "rum/model.ckpt"]
)
def test_a_wrong_path_names_what_is_there(path, told):
    for words in (["inspect", path], ["convert", path, "out", "--to", "npz"], ["verify", path, "run"]):
        code, text, issues = told(*words)
        assert code == 3
        assert path.split("/")[0] in issues[0]["where"]
        assert ("model.ckpt" if path.startswith("run") else "run/") in issues[0]["hint"]
        assert issues[0]["hint"] in text


def test_a_missing_shard(told):
    Path("run/model.ckpt.data-00001-of-00003").unlink()
    code, text, issues = told("inspect", "run/model.ckpt")
    assert (code, issues[0]["kind"], issues[0]["severity"]) == (1, "missing", "error")
    assert "variables" in text
    for to in ("tf1", "tf2", "npz", "safetensors"):
        for more in ([], ["--dry-run"], ["--allow-loss"], ["--verify", "none"]):
            code, text, issues = told("convert", "run/model.ckpt", "out", "--to", to, *more)
            assert (code, issues[0]["kind"]) == (3, "missing")
            assert "model.ckpt.data-00001-of-00003" in text


def test_a_pointer_in_each_place(told):
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    for name in ("m.npz", "m.safetensors", "m.index", "m.ckpt"):
        Path(name).write_bytes(pointer)
        code, _, issues = told("convert", name, "out", "--to", "tf2")
        assert (code, "git lfs pull" in issues[0]["hint"]) == (3, True)
    Path("run/model.ckpt.data-00001-of-00003").write_bytes(pointer)
    for command, code in ((("convert", "run", "out", "--to", "npz"), 3), (("inspect", "run"), 1)):
        found, text, issues = told(*command)
        assert (found, issues[0]["kind"]) == (code, "missing")
        assert "model.ckpt.data-00001-of-00003 is a Git LFS pointer" in text


@pytest.mark.parametrize("kind", ["folder", "fifo", "empty", "dangling", "loop", "device"])
def test_what_is_no_file(kind, told):
    source = Path("thing.npz")
    if kind == "folder":
        source.mkdir()
    elif kind == "fifo":
        os.mkfifo(source)
    elif kind == "empty":
        source.touch()
    else:
        source.symlink_to({"dangling": "nowhere", "loop": "thing.npz", "device": "/dev/zero"}[kind])
    for words in (["inspect", "thing.npz"], ["convert", "thing.npz", "out", "--to", "tf2"]):
        for form in ([], ["--from", "npz"], ["--from", "safetensors"], ["--from", "tf1"], ["--from", "tf1-v1"]):
            assert told(*words, *form)[0] in (3, 4)


WITHOUT_CHECKSUMS = {"safetensors/plain": "model.safetensors", "safetensors/sharded": "model.safetensors.index.json"}
CHECKED = {
    "tf1/momentum": "model.ckpt",
    "tf1/strings": "model.ckpt",
    "tf1/partitioned": "model.ckpt",
    "tf2/keras_adam": "ckpt-1",
    "npz/plain": "model.npz",
    "npz/compressed": "model.npz",
}


@pytest.mark.parametrize("how", ["flip", "cut", "zero", "insert"])
@pytest.mark.parametrize("fixture", {**CHECKED, **WITHOUT_CHECKSUMS})
def test_changed_bytes(fixture, how, here, fixtures, capsys):
    """Where there are checksums an output is what it would have been, or it isn't there."""
    name = {**CHECKED, **WITHOUT_CHECKSUMS}[fixture]
    shutil.copytree(fixtures / fixture, "src")
    assert main(["convert", f"src/{name}", "good", "--to", "npz"]) == 0
    draw = random.Random(f"{fixture} {how}")
    parts = sorted(p for p in Path("src").iterdir() if p.name not in ("listing.json", "checkpoint"))
    for path in parts:
        data = path.read_bytes()
        for at in [draw.randrange(len(data)) for _ in range(5)]:
            bit = bytes([data[at] ^ 1 << draw.randrange(8)])
            changed = {
                "flip": bit + data[at + 1 :],
                "cut": b"",
                "zero": bytes(8) + data[at + 8 :],
                "insert": b"\x80" + data[at:],
            }
            path.write_bytes(data[:at] + changed[how])
            code = main(["convert", f"src/{name}", "out", "--to", "npz"])
            said = capsys.readouterr()
            assert "bug" not in said.err
            assert code in (0, 3, 4, 5, 6), said.err
            assert Path("out").exists() == (code == 0)
            if code == 0:
                assert fixture in WITHOUT_CHECKSUMS or main(["diff", "good", "out"]) == 0
                Path("out").unlink()
            assert sorted(p.name for p in here.iterdir()) == ["good", "run", "src"]
        path.write_bytes(data)


def test_a_changed_byte_in_the_middle_is_placed(told):
    path = Path("run/model.ckpt.data-00001-of-00003")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    for to in ("tf1", "npz", "safetensors"):
        code, _, issues = told("convert", "run", "out", "--to", to)
        assert (code, issues[0]["kind"]) == (4, "damaged")
        assert "model.ckpt.data-00001-of-00003" in issues[0]["where"]
        assert "checksum" in issues[0]["message"]


def test_templates_of_other_kinds(told, fixtures):
    for template in ("tf1/momentum", "npz/plain", "safetensors/plain", "tf2/keras_adam"):
        code, _, issues = told("convert", "run", "out", "--to", "tf2", "--template", str(fixtures / template))
        assert code in (5, 6), template
        assert issues
    for template in ("nowhere", "run/listing.json", "run/model.ckpt.data-00009-of-00003x"):
        assert told("convert", "run", "out", "--to", "tf2", "--template", template)[0] == 3


MAPPINGS = {
    "": 1,
    "[]": 1,
    "ckptmigrate: 2\n": 1,
    "ckptmigrate: 1\nrename:\n  a: b\n  a: c\n": 4,
    "ckptmigrate: 1\nrename:\n  a: {x: 1}\n": 3,
    "ckptmigrate: 1\nrename:\n  '{x': b\n": 3,
    "ckptmigrate: 1\nrules:\n  - from: a\n    to: b\n    do: [explode: 1]\n": 5,
    "ckptmigrate: 1\nrules:\n  - from: a\n    too: b\n": 4,
    "ckptmigrate: 1\nx: &a [1]\ny: *a\n": 2,
    "ckptmigrate: 1\nrename:\n\ta: b\n": 3,
    "ckptmigrate: 1\ninclude: [../../../etc/passwd]\n": 2,
    "ckptmigrate: 1\ninclude: [m.yaml]\n": 2,
    f"ckptmigrate: 1\ninclude: [{'n' * 300}.yaml]\n": 2,
    f"ckptmigrate: 1\ntarget: {{template: {'n' * 300}}}\nrename: {{a: b}}\n": 2,
    "\0": 1,
    "{" * 5000: 1,
    "[" * 100_000: 1,
    "a: " * 2000: 1,
}


@pytest.mark.parametrize("text", MAPPINGS, ids=lambda text: text[-20:])
def test_mappings_that_are_none(text, told):
    Path("m.yaml").write_text(text)
    for words in (["convert", "run", "out", "--to", "tf2", "--mapping", "m.yaml"], ["mapping", "check", "m.yaml"]):
        code, _, issues = told(*words)
        assert code == 5
        assert any(f"m.yaml:{MAPPINGS[text]}" in issue["where"] for issue in issues), issues


@pytest.mark.parametrize(
    "mapping", ["nowhere.yaml", "od/nowhere", "run", "run/model.ckpt.index", "/dev/null", "a\udcff"]
)
def test_mappings_that_are_not_there(mapping, told):
    code, _, issues = told("convert", "run", "out", "--to", "tf2", "--mapping", mapping)
    assert code == 5
    assert issues[0]["message"]
