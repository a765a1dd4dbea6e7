"""Names that would be paths, commands to a terminal, or each other: kept as they are, or refused, never obeyed."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from ckptmigrate.cli.main import main
from ckptmigrate.wire.bundle_writer import BundleWriter

NAMES = {
    "parent": "../up",
    "absolute": "/etc/passwd",
    "dots": "./a/../../b",
    "only dots": "..",
    "nul": "a\0b",
    "newline": "a\nb",
    "return": "a\rb",
    "escape": "a\x1b[31mred\x1b]0;title\x07",
    "delete": "a\x7f\x08\x08b",
    "bidi": "a\u202egnp.exe",
    "zero width": "a\u200bb\ufeff",
    "c1": "a\x9b31mb",
    "line separator": "a\u2028b",
    "long": "n" * 300,
    "very long": "n/" * 40_000,
    "composed": "caf\u00e9",
    "decomposed": "cafe\u0301",
    "upper": "Kernel",
    "lower": "kernel",
    "bytes": "a\udcff\udcfe",
    "astral": "a\U0001f600b",
    "private": "a\ue000b",
    "quotes": "a'\"b\\c",
    "brackets": "{x}[0]*?",
    "rich": "[red]a[/red]",
    "slashes": "a//b/",
    "leading slash": "//a",
    "spaces": " a b ",
    "device": "con",
    "colon": "a:0",
    "dot": "a.b.c",
    "equals": "--force",
    "document": "__ckptmigrate__.json",
    "metadata": "__metadata__",
    "attributes": "a/.ATTRIBUTES/VARIABLE_VALUE",
    "slot": "a/.OPTIMIZER_SLOT/b/m",
    "escaped": "a.Sb..c",
    "number": "0",
    "file": "x.npy",
}


def write(folder: Path, names: list[str]) -> Path:
    with BundleWriter(folder, "m") as writer:
        for number, name in enumerate(names):
            writer.add_array(name, 1, np.full(2, number, np.float32))
        writer.finish()
    return folder / "m"


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*")}


def listed(path: Path, capsys: pytest.CaptureFixture[str]) -> set[str]:
    capsys.readouterr()
    assert main(["inspect", str(path), "--json"]) == 0
    return {v["name"] for v in json.loads(capsys.readouterr().out)["variables"]}


WROTE = {
    "tf1": {"out.index", "out.data-00000-of-00001"},
    "tf2": {"out.index", "out.data-00000-of-00001"},
    "npz": {"out"},
    "safetensors": {"out"},
}


@pytest.mark.parametrize("to", ["tf2", "safetensors"])
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_name_alone(name, to, tmp_path, monkeypatch, capsys):
    (tmp_path / "deep/er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep/er")
    source = write(Path(), [name, "w"])
    before = files(tmp_path)
    code = main(["convert", str(source), "out", "--to", to])
    said = capsys.readouterr()
    assert all(c.isprintable() or c == "\n" for c in said.out + said.err)
    assert "bug" not in said.err
    made = {Path(f).name for f in files(tmp_path) - before}
    if code:
        assert code in (4, 5, 6), said.err
        assert "error: " in said.out + said.err
        assert made == set()
        return
    assert made == WROTE[to]
    assert main(["inspect", "out", "--all"]) == 0
    said = capsys.readouterr()
    assert all(c.isprintable() or c == "\n" for c in said.out + said.err)
    if to == "tf2":
        name = name.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE")  # its stored key is what the name was
    assert listed(Path("out"), capsys) - {"save_counter"} == {name, "w"}


@pytest.mark.parametrize("to", WROTE)
def test_names_together(to, tmp_path, capsys):
    """Twins by case or by composition stay two; there and back."""
    names = {*NAMES.values(), "KERNEL", "a ", "..\\a"} - {NAMES["attributes"], NAMES["very long"]}
    source = write(tmp_path, sorted(names))
    assert main(["convert", str(source), str(tmp_path / "out"), "--to", to]) == 0, capsys.readouterr()
    assert main(["convert", str(tmp_path / "out"), str(tmp_path / "back"), "--to", "tf1"]) == 0
    assert main(["verify", str(source), str(tmp_path / "back")]) == 0
    assert main(["inspect", str(tmp_path / "out"), "--stats"]) == 0
    said = capsys.readouterr()
    assert all(c.isprintable() or c == "\n" for c in said.out + said.err)
    for path in (tmp_path / "out", tmp_path / "back"):
        assert listed(path, capsys) - {"save_counter"} == names


@pytest.mark.parametrize("to", WROTE)
@pytest.mark.parametrize("name", ["../up", "a\x1b[31mb", "a\udcffb", "n" * 300])
def test_hostile_names_of_sources_that_are_archives(name, to, tmp_path, monkeypatch, capsys):
    """The same by way of the formats whose names others write."""
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    main(["convert", str(write(Path(), [name])), "m.npz", "--to", "npz"])
    main(["convert", "m", "m.safetensors", "--to", "safetensors"])
    before = files(tmp_path)
    for number, source in enumerate(["m.npz", "m.safetensors"]):
        assert main(["convert", source, f"out{number}", "--to", to]) == 0
    said = capsys.readouterr()
    assert all(c.isprintable() or c == "\n" for c in said.out + said.err)
    assert {Path(f).name[:3] for f in files(tmp_path) - before} == {"out"}
    assert {Path(f).parts[0] for f in files(tmp_path)} == {"deep"}


def test_names_of_files_that_steer_a_terminal(tmp_path, capsys):
    for number, name in enumerate(["a\x1b[31mred", "a\nb", "a\u202eb", "a\udcff"]):
        source = write(tmp_path, ["w"])
        out = tmp_path / str(number) / name
        words = [["convert", str(source), str(out), "--to", "tf2"], ["inspect", str(out)], ["inspect", f"{out}x"]]
        words += [["verify", str(source), str(out)], ["convert", str(source), str(out), "--to", "tf2"]]
        for command, extra in itertools.product(words, ([], ["--json"])):
            main([*command, *extra])
            said = capsys.readouterr()
            assert all(c.isprintable() or c == "\n" for c in said.out + said.err), command
            assert "bug" not in said.err


STEERING = "a\x1b]0;title\x07\x9b31m\u202eb\u2028c\x7f\n\r\x85d"
OTHERS = (STEERING, f"{STEERING}/kernel/Adam", f"x/{STEERING}", "\udcff/moving_mean", "[bold]x[/]", "b\tc")


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """A folder of hostile names: checkpoints of hostile variables, a mapping and a manifest that quote them."""
    folder = tmp_path / STEERING
    folder.mkdir()
    monkeypatch.chdir(folder)
    write(Path(), sorted(OTHERS))
    write_as = Path(STEERING.replace("/", ""))
    write_as.mkdir()
    write(write_as, [STEERING, "w"])
    text = json.dumps(STEERING)
    Path("m.yaml").write_text(f"ckptmigrate: 1\ntitle: {text}\nrename:\n  {text}: {text}\n  'x/{{y}}': 'y/{{y}}'\n")
    Path("bad.yaml").write_text(
        f"ckptmigrate: 1\n{text}: {text}\nrules: [{{from: {text}, to: '{{{{', do: [{text}]}}]\n"
    )
    Path("batch.yaml").write_text(
        f"ckptmigrate-batch: 1\ndefaults: {{to: npz, {text}: 1}}\nentries: [{{from: {text}, to: 1}}]\n"
    )
    Path("p.config").write_text(f"model {{ {STEERING}: 1 }}")
    Path("q.config").write_text(
        'model { ssd { num_classes: "\x1b[31m\u202e" feature_extractor { type: "\x1b\u202e" } } }'
    )
    return folder


COMMANDS = [
    "inspect m",
    "inspect m --stats --all",
    "inspect NAME/m",
    "inspect NAME",
    "inspect m --filter NAME",
    "inspect m --from NAME",
    "inspect m.index/NAME",
    "convert m out --to npz --report r.html",
    "convert m out --to tf2 --dry-run",
    "convert m NAME --to safetensors",
    "convert m out --to NAME",
    "convert m out --to npz --mapping m.yaml",
    "convert m out --to npz --mapping bad.yaml",
    "convert m out --to npz --mapping NAME",
    "convert m out --to npz --drop NAME --reinit NAME",
    "convert m out --to npz --hyper NAME=1",
    "convert m out --to keras-h5",
    "convert m out --to tf1 --template NAME/m",
    "convert m out --to npz --names NAME",
    "convert m out --to npz --report NAME",
    "verify m NAME/m",
    "verify m NAME",
    "diff m NAME/m",
    "diff NAME/m m --rtol 1",
    "doctor m",
    "doctor NAME",
    "doctor m --against NAME/m",
    "doctor m --pipeline-config p.config",
    "doctor m --pipeline-config q.config",
    "mapping list",
    "mapping show NAME",
    "mapping check m.yaml",
    "mapping check bad.yaml",
    "mapping check m.yaml m NAME/m",
    "mapping explain m.yaml NAME",
    "mapping explain NAME NAME",
    "mapping draft m NAME/m",
    "mapping draft m m -o d.yaml",
    "port-detection p.config m out",
    "port-detection q.config m out",
    "port-detection NAME m out",
    "average m m NAME/mean",
    "average m NAME/m mean",
    "batch batch.yaml",
    "batch NAME",
    "batch --glob */m.index --out NAME/{stem} --to npz --jobs 1 --report b.html",
    "batch batch.yaml --report b.html",
    "formats",
    "NAME",
    "inspect --NAME",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_hostile_names_safely(command, hostile, capsys):
    """Text has nothing in it that a terminal obeys or hides; JSON is JSON; pages hold no name as markup or raw."""
    words = [word.replace("NAME", STEERING) for word in command.split()]
    capsys.readouterr()
    for extra in ([], ["--json"]):
        if extra and words[:2] == ["mapping", "show"]:
            continue
        code = main([*words, *extra])
        said = capsys.readouterr()
        assert code != 1 or "bug" not in said.out + said.err
        assert "Traceback" not in said.err
        assert all(c.isprintable() or c == "\n" for c in said.out + said.err), (said.out + said.err).encode()
        if extra and code != 2:
            json.loads(said.out)
    for made in (*hostile.glob("*.html"), *hostile.glob("d.yaml")):
        assert all(c.isprintable() or c == "\n" for c in made.read_text("utf-8"))
