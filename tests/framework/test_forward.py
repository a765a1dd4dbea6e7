"""The forward check with models of plain NumPy: what is compared, what is told, and what becomes of code that fails."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import numpy as np
import pytest

import ckptmigrate
from ckptmigrate.cli.main import main
from ckptmigrate.errors import UsageError
from ckptmigrate.framework import difference as differences
from ckptmigrate.framework import forward, process
from ckptmigrate.framework.difference import difference

MODELS = """
    import numpy as np

    def run(path, inputs, names):
        x, outputs = inputs["x"], {}
        with np.load(path) as weights:
            for name in names:
                x = outputs[name.split("/")[-1]] = np.tanh(x @ weights[f"{name}/kernel"])
        return outputs

    def source(path, inputs):
        return run(path, inputs, ["net/first", "net/second", "net/head"])

    def target(path, inputs):
        return run(path, inputs, ["first", "second", "head"])

    def both():
        return {"inputs": {"x": (5, 4)}, "source": source, "target": target}
"""
RIGHT = "net/{layer}/kernel: '{layer}/kernel'"
WRONG = "net/first/kernel: second/kernel\n  net/second/kernel: first/kernel\n  net/head/kernel: head/kernel"
MAPPING = "ckptmigrate: 1\ntitle: a net\nrename:\n  "


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a source of two equal-shaped kernels, and my_models.py."""
    random = np.random.default_rng(3)
    shapes = {"first": (4, 4), "second": (4, 4), "head": (4, 2)}
    np.savez(tmp_path / "old.npz", **{f"net/{n}/kernel": random.normal(size=s) for n, s in shapes.items()})
    (tmp_path / "my_models.py").write_text(textwrap.dedent(MODELS))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def convert(rules: str) -> None:
    Path("rules.yaml").write_text(MAPPING + rules + "\n")
    report = ckptmigrate.convert("old.npz", "new.npz", to="npz", mapping="rules.yaml", force=True)
    assert report.verdict == "verified"


def verify(code: str = "", **options):
    """The report of both models, with some of my_models.py written anew."""
    with Path("my_models.py").open("a") as file:
        file.write(textwrap.dedent(code))
    return ckptmigrate.verify("old.npz", "new.npz", level="forward", **{"model": "my_models:both", **options})


def outcomes(report):
    return [(row.name, row.outcome) for row in report.rows]


def test_the_same_outputs(place):
    convert(RIGHT)
    report = verify()
    assert (report.verdict, report.exit_code, report.issues) == ("verified", 0, ())
    assert outcomes(report) == [("first", "equal"), ("second", "equal"), ("head", "equal")]
    assert {row.detail for row in report.rows} == {"no difference"}
    told = report.details["forward"]
    assert told == {
        "model": "my_models:both", "rtol": 1e-4, "atol": 1e-6, "inputs": [{"name": "x", "shape": [5, 4]}]
    }  # fmt: skip


def test_kernels_of_one_shape_that_changed_places(place):
    """Bits can't see it: the mapping says so. The models do."""
    convert(WRONG)
    assert ckptmigrate.verify("old.npz", "new.npz").verdict == "verified"
    report = verify()
    assert (report.verdict, report.exit_code) == ("differs", 1)
    assert outcomes(report) == [("first", "differs"), ("second", "differs"), ("head", "differs")]
    (issue,) = report.issues
    assert (issue.kind, issue.severity, issue.name) == ("forward", "error", "first")


def test_layers_before_the_first_difference_are_told(place):
    convert("net/{layer}/kernel: '{layer}/kernel'")
    report = verify("""
        def target(path, inputs):
            outputs = run(path, inputs, ["first", "second", "head"])
            outputs["second"][1, 3] += 0.01
            return {name: outputs[name] for name in ("second", "first", "other", "head") if name in outputs} | {"z": 1}
    """)
    assert outcomes(report) == [("first", "equal"), ("second", "differs"), ("head", "equal"), ("z", "extra")]
    assert "(1 before it are equal): largest difference 0.01 at [1,3]" in report.issues[0].message
    assert verify(rtol=0.1).issues[0].name == "z"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("target = None", "no function 'target' in what --model gives, a dict"),
        ("def both(): return None", "no dict 'inputs' in what --model gives, found nothing"),
        ("def both(): return {'inputs': {'x': 'text' and object()}}", "input 'x' is neither an array nor a shape"),
        ("def source(path, inputs): return {}", "source() gave a dict; expected a dict of output names and arrays"),
        ("def source(path, inputs): return {'a': ['b']}", "output 'a' is a list of dtype <U1; expected numbers"),
        ("import no_such_module", "my_models can't be imported: ModuleNotFoundError: No module named 'no_such_module'"),
        ("def both(:", "my_models can't be imported: SyntaxError"),
        ("both = 3", "--model my_models:both: expected a function, found a int"),
    ],
)
def test_not_a_model(place, code, message):
    convert(RIGHT)
    with pytest.raises(UsageError) as error:
        verify("\n" + code + "\n")
    assert message in str(error.value)
    assert "docs/forward.md" in error.value.hint


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "my_models.both"}, "expected PKG.MOD:FN"),
        ({"model": "my_models:"}, "expected PKG.MOD:FN"),
        ({"model": "../my_models:both"}, "expected PKG.MOD:FN"),
        ({"model": ""}, "which --model names"),
        ({"model": "nowhere.at_all:both"}, "nowhere.at_all can't be imported"),
        ({"model": "my_models:none"}, "my_models has no none"),
        ({"level": "bits"}, "are for --level forward and resume"),
        ({"level": "bits", "model": "", "rtol": 0.1}, "are for --level forward and resume"),
        ({"steps": 3}, "--steps is for --level resume, not forward"),
    ],
)
def test_wrong_options(place, options, message):
    convert(RIGHT)
    with pytest.raises(UsageError, match=message):
        ckptmigrate.verify("old.npz", "new.npz", **{"level": "forward", "model": "my_models:both", **options})


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def target(path, inputs): raise KeyError('x')", "the target model failed: KeyError: 'x' (my_models.py:"),
        ("import os\ndef source(path, inputs): os.abort()", "the source model crashed with SIGABRT"),
        ("import sys\ndef target(path, inputs): sys.exit('no')", "the target model ended with exit code 1: no"),
    ],
)
def test_code_that_fails_is_a_finding(place, code, message):
    convert(RIGHT)
    report = verify("\n" + code + "\n")
    assert (report.verdict, report.exit_code, report.rows) == ("differs", 1, ())
    assert message in report.issues[0].message


def test_a_model_that_hangs_is_a_finding(place):
    convert(RIGHT)
    with ckptmigrate.open("old.npz") as a, ckptmigrate.open("new.npz") as b:
        report = forward.forward(a, b, "my_models:both", timeout=0.01)
    assert report.issues[0].message == "the source model gave no answer within 0.01 s"
    assert process.TIMEOUT > 60


def test_both_get_the_same_inputs(place):
    """Drawn once, whatever FN makes of a second call, and changed by neither side for the other."""
    convert(RIGHT)
    report = verify("""
        def source(path, inputs):
            assert inputs["x"].dtype == np.float16 and inputs["shape"].shape == (2, 3)
            outputs = {"x": inputs["x"].copy(), "shape": inputs["shape"]}
            inputs["x"][:] = 0
            return outputs

        target = source

        class Pair:
            def __init__(self):
                self.inputs = {"x": np.random.default_rng().normal(size=3).astype(np.float16), "shape": (2, 3)}
                self.source = self.target = source
                self.seed = 5
    """, model="my_models:Pair")  # fmt: skip
    assert outcomes(report) == [("x", "equal"), ("shape", "equal")]
    assert {row.detail for row in report.rows} == {"no difference"}


def test_equality_that_proves_little_is_said(place):
    convert(RIGHT)
    report = verify("""
        def source(path, inputs):
            return {"dead": np.zeros(4), "nan": np.full(3, np.nan), "one": 1.0}

        target = source
    """)
    assert report.exit_code == 0
    assert [(issue.severity, issue.name) for issue in report.issues] == [("warning", "dead"), ("warning", "nan")]


def test_mapping_options_play_no_part(place):
    convert(RIGHT)
    report = verify(mapping="rules.yaml")
    assert (report.exit_code, [issue.severity for issue in report.issues]) == (0, ["note"])


def test_command_line(place, capsys):
    convert(WRONG)
    line = ["verify", "old.npz", "new.npz", "--level", "forward", "--model", "my_models:both"]
    assert main(line) == 1
    told = capsys.readouterr().out
    assert told.startswith("differs: 3 differ, 1 error\n")
    assert "differs  first " in told
    assert main([*line, "--json", "--rtol", "10"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["verdict"] == "verified"
    assert [row["name"] for row in document["rows"]] == ["first", "second", "head"]
    assert document["details"]["forward"]["rtol"] == 10
    assert main([*line[:-1], "nowhere:fn"]) == 2
    assert "nowhere can't be imported" in capsys.readouterr().err
    assert main([*line[:3]]) == 0


@pytest.mark.parametrize("kind", ["tensorflow", "numpy", "json", "ckptmigrate"])
def test_a_module_beside_the_models_shadows_nothing(place, kind):
    """The current folder is looked in last, for somebody's download may lie there."""
    convert(RIGHT)
    (place / f"{kind}.py").write_text("raise RuntimeError('imported from the current folder')")
    assert verify().verdict == "verified"


@pytest.mark.parametrize(
    ("ours", "theirs", "largest", "at"),
    [
        ([1.0, 2.0], [1.0, 2.5], 0.5, (1,)),
        ([np.nan, np.inf, -np.inf], [np.nan, np.inf, -np.inf], 0.0, (0,)),
        ([np.nan, 1.0], [1.0, 1.0], np.inf, (0,)),
        ([np.inf, 1.0], [-np.inf, 1.0], np.inf, (0,)),
        ([[0], [2**62]], [[0], [0]], float(2**62), (1, 0)),
        ([True, False], [True, True], 1.0, (1,)),
        ([3 + 4j], [0j], 5.0, (0,)),
        (1.0, 1.5, 0.5, ()),
        (np.zeros((0, 2)), np.zeros((0, 2)), 0.0, ()),
    ],
)
def test_difference(ours, theirs, largest, at):
    found = difference(np.asarray(ours), np.asarray(theirs))
    assert (found.largest, found.at) == (largest, at)
    assert str(found)


def test_difference_looks_at_every_block(monkeypatch):
    monkeypatch.setattr(differences, "BLOCK", 7)
    ours = np.arange(60.0).reshape(3, 20)
    theirs = ours.copy()
    theirs[1, 3] += 2
    theirs[2, 19] += 3
    found = difference(ours, theirs)
    assert (found.largest, found.at, found.scale, found.is_constant) == (3, (2, 19), 59, False)
