"""The resume check with an optimizer of plain NumPy: what is compared, what is told, and code that fails."""

from __future__ import annotations

import json
import textwrap
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import ckptmigrate
from ckptmigrate.cli.main import main
from ckptmigrate.errors import UsageError

TRAINING = """
    import numpy as np

    class Net:
        '''A linear layer trained with momentum, whose slot is what `sign` makes of it.'''

        def __init__(self, path, sign=1.0, keep=True):
            with np.load(path) as file:
                self.w, self.slot = file["w"].copy(), file["m"] * keep
            self.sign = sign

        def step(self, batch):
            error = batch["x"] @ self.w - batch["y"]
            gradient = batch["x"].T @ error / len(error)
            self.slot = 0.9 * self.slot + self.sign * gradient
            self.w -= 0.05 * self.sign * self.slot
            return np.mean(error**2)

        def weights(self):
            return {"w": self.w}

    class WithSlots(Net):
        def slots(self):
            return {"momentum": {"w": self.slot}}

    def both():
        return {
            "batches": {"x": (8, 3), "y": (8, 2)},
            "source": lambda path: WithSlots(path),
            "target": lambda path: WithSlots(path),
            "fresh": lambda path: Net(path, keep=False),
        }
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a weight and its momentum in two files, and my_training.py."""
    random = np.random.default_rng(3)
    state = {"w": random.normal(size=(3, 2)), "m": random.normal(size=(3, 2))}
    for name in ("old.npz", "new.npz"):
        np.savez(tmp_path / name, **state)
    np.savez(tmp_path / "other.npz", w=state["w"], m=-state["m"])
    (tmp_path / "my_training.py").write_text(textwrap.dedent(TRAINING))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def verify(code: str = "", target: str = "new.npz", **options):
    """The report of both sides, with some of my_training.py written anew; `pair` changes what FN gives."""
    with Path("my_training.py").open("a") as file:
        file.write(textwrap.dedent(code))
    return ckptmigrate.verify("old.npz", target, level="resume", **{"model": "my_training:both", **options})


def changed(**parts: str) -> str:
    """Code in which FN gives other parts."""
    told = ", ".join(f"{name!r}: {text}" for name, text in parts.items())
    return f"\ndef both(first=both): return {{**first(), {told}}}\n"


def test_the_same_training(place):
    report = verify()
    assert (report.verdict, report.exit_code, report.issues) == ("verified", 0, ())
    assert [(row.name, row.slot, row.outcome) for row in report.rows] == [
        ("w", "", "equal"),
        ("w", "momentum", "equal"),
    ]
    assert all(row.detail.startswith("no difference; moved by ") for row in report.rows)
    told = report.details["resume"]
    assert [step["step"] for step in told["course"]] == [0, 1, 2, 3, 4, 5]
    assert {(step["outcome"], step["weights"], step["slots"]) for step in told["course"]} == {("equal", 0.0, 0.0)}
    fresh = [step["fresh"] for step in told["course"]]
    assert fresh[0] == 0
    assert all(a < b for a, b in pairwise(fresh))
    assert told["course"][0]["loss"] is None
    assert told["course"][1]["loss"][0] == told["course"][1]["loss"][1] > 0
    assert told["batches"] == [{"name": "x", "shape": [8, 3]}, {"name": "y", "shape": [8, 2]}]


def test_another_state_differs_from_the_first_step_on(place):
    report = verify(target="other.npz")
    assert (report.verdict, report.exit_code) == ("differs", 1)
    (issue,) = report.issues
    assert (issue.kind, issue.severity, issue.name) == ("resume", "error", "w:momentum")
    assert issue.message.startswith("the first that differs, as restored: largest difference ")
    report = verify(changed(target="Net"), target="other.npz")
    assert [(issue.severity, issue.name) for issue in report.issues] == [("error", "w"), ("note", "")]
    assert "the first that differs, after step 1: largest difference " in report.issues[0].message
    assert [step["outcome"] for step in report.details["resume"]["course"]] == ["equal"] + 5 * ["differs"]


def test_slots_that_mean_something_else_are_left_out(place):
    """The other sign of the slot, and of what reads it: the weights go the same way."""
    report = verify(changed(target="lambda path: Net(path, sign=-1.0)"), target="other.npz")
    assert (report.verdict, [row.outcome for row in report.rows]) == ("verified", ["equal"])
    assert [issue.message for issue in report.issues] == ["only one side gives slots: they aren't compared"]


def test_without_state_it_differs(place):
    report = verify(changed(target="lambda path: Net(path, keep=False)"))
    course = report.details["resume"]["course"]
    assert report.exit_code == 1
    assert [step["weights"] for step in course] == [step["fresh"] for step in course]


def test_steps_and_tolerances(place):
    code = changed(target="lambda path: Net(path, keep=1 - 1e-6)")
    assert verify(code).exit_code == 0
    assert verify(rtol=0, atol=1e-8).exit_code == 1
    told = verify(rtol=1e-3, atol=0.5, steps=2).details["resume"]
    assert (told["rtol"], told["atol"], told["steps"], len(told["course"])) == (1e-3, 0.5, 2, 3)


@pytest.mark.parametrize(
    ("parts", "warning"),
    [
        ({"fresh": "lambda path: Net(path)"}, "a fresh optimizer gives these weights too"),
        ({"batches": "{'x': np.zeros((8, 3)), 'y': (8, 2)}", "source": "Still", "target": "Still"}, "no weight moved"),
        ({"batches": "{'x': (8, 3), 'y': np.full((8, 2), np.nan)}"}, "isn't finite"),
    ],
)
def test_equality_that_proves_little_is_said(place, parts, warning):
    report = verify("class Still(Net):\n    def step(self, batch): return 0.0\n" + changed(**parts))
    assert report.exit_code == 0
    assert any(issue.severity == "warning" and warning in issue.message for issue in report.issues)


def test_a_list_of_batches_begins_again(place):
    """Both sides get the same ones, and neither can change them for the other."""
    counting = """
class Counting(Net):
    seen = 0

    def step(self, batch):
        wanted = [1.0, 2.0][self.seen % 2]
        self.seen += 1
        assert (batch["x"] == wanted).all() and batch["y"].dtype == np.float16, batch
        batch["x"][:] = 7
        return Net.step(self, {"x": np.full((8, 3), wanted), "y": batch["y"]})

batches = [{"x": np.full((8, 3), n), "y": np.zeros((8, 2), np.float16)} for n in (1.0, 2.0)]
"""
    report = verify(counting + changed(batches="batches", source="Counting", target="Counting"))
    assert (report.verdict, report.issues[0].severity if report.issues else "") == ("verified", "")


def test_missing_and_extra_weights(place):
    code = "class More(WithSlots):\n    def weights(self): return {'w': self.w, 'b': np.ones(2)}\n"
    report = verify(code + changed(target="More"))
    assert [(row.name, row.slot, row.outcome) for row in report.rows][-1] == ("b", "", "extra")
    assert (report.exit_code, report.issues[0].name) == (1, "b")
    report = verify(changed(source="More", target="WithSlots"))
    assert report.rows[-1].outcome == "missing"
    report = verify(changed(source="WithSlots", target="type('T', (WithSlots,), {'weights': lambda s: {'w': s.w.T}})"))
    assert report.rows[0].detail.startswith("shape [2, 3] where the source has [3, 2]")
    assert report.exit_code == 1


def test_slots_that_the_first_step_makes(place):
    late = "class Late(Net):\n    def slots(self): return {'momentum': {'w': self.slot}} if self.late else {}\n"
    late += (
        "    late = False\n    def step(self, batch):\n        self.late = True\n        return Net.step(self, batch)\n"
    )
    report = verify(late + changed(target="Late"))
    assert (report.exit_code, [row.slot for row in report.rows]) == (0, ["", "momentum"])
    assert report.details["resume"]["course"][0]["slots"] is None


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"target": "None"}, "no function 'target' in what --model gives, a dict"),
        ({"fresh": "3"}, "no function 'fresh' in what --model gives, a dict"),
        ({"batches": "None"}, "no 'batches' in what --model gives, found nothing; expected a dict of names and shapes"),
        ({"batches": "[]"}, "no 'batches' in what --model gives, found a list"),
        ({"batches": "{'x': both}"}, "batch 'x' is neither an array nor a shape: a function"),
        ({"source": "lambda path: None"}, "no function 'weights' in what source() gives, nothing"),
        ({"source": "lambda path: {'weights': lambda: {'w': 1.0}}"}, "no function 'step' in what source() gives"),
        ({"source": "lambda path: {'weights': dict}"}, "weights() gave a dict; expected a dict of weight names"),
        (
            {"source": "lambda path: {'weights': lambda: {'w': 1.0}, 'step': lambda batch: batch['x']}"},
            "step() gave an array of shape [8, 3]; expected the loss, a number",
        ),
        (
            {"source": "lambda path: {'weights': lambda: {'w': 1.0}, 'slots': lambda: {'m': 1}}"},
            "slots() gave a dict; expected a dict: slot name -> dict: weight name -> array",
        ),
        (
            {"target": "type('T', (Net,), {'weights': lambda s: {str(s.w[0, 0]): s.w}})"},
            "weights() of the target gave other names or shapes after step 1",
        ),
    ],
)
def test_not_a_model(place, parts, message):
    with pytest.raises(UsageError) as error:
        verify(changed(**parts))
    assert message in str(error.value)
    assert "docs/resume.md" in error.value.hint


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": ""}, "--level resume runs two models of yours, which --model names"),
        ({"model": "my_training"}, "expected PKG.MOD:FN"),
        ({"steps": 0}, "--steps 0: expected at least one step"),
        ({"level": "bits", "model": "", "steps": 5}, "--steps is for --level resume, not bits"),
    ],
)
def test_wrong_options(place, options, message):
    with pytest.raises(UsageError, match=message):
        ckptmigrate.verify("old.npz", "new.npz", **{"level": "resume", "model": "my_training:both", **options})


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def failing(path): raise KeyError('x')", "the target model failed: KeyError: 'x' (my_training.py:"),
        ("import os\ndef failing(path): os.abort()", "the target model crashed with SIGABRT"),
    ],
)
def test_code_that_fails_is_a_finding(place, code, message):
    report = verify(f"{code}\n{changed(target='failing')}")
    assert (report.verdict, report.exit_code, report.rows) == ("differs", 1, ())
    assert message in report.issues[0].message


def test_command_line(place, capsys):
    line = ["verify", "old.npz", "other.npz", "--level", "resume", "--model", "my_training:both", "--steps", "2"]
    assert main(line) == 1
    told = capsys.readouterr().out
    assert told.startswith("differs: 0 of 1 weight and 0 of 1 slot equal after each of 2 steps, 2 differ, 1 error\n")
    assert "  differs  w:momentum  largest difference " in told
    assert main([*line, "--json", "--rtol", "10"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["slot"]) for row in document["rows"]] == [("w", None), ("w", "momentum")]
    assert [step["outcome"] for step in document["details"]["resume"]["course"]] == ["equal"] * 3
    assert main([*line[:-3], "nowhere:fn"]) == 2
    assert "nowhere can't be imported" in capsys.readouterr().err
