"""What real Keras saves, converted to everything that it loads, and loaded by it into a freshly built model.

Predictions are equal, bit for bit, or the run is refused with a reason and a way out, told in docs/keras-matrix.md; the
table there is made from what this test finds (`--accept` writes it anew).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from ckptmigrate import convert
from keras_matrix.cells import TARGETS, Cell, Place, cells
from keras_matrix.files import KERAS, SAVED
from keras_matrix.models import MODELS
from keras_matrix.tables import cell, rows

pytestmark = pytest.mark.oracle

DOCS = Path(__file__).resolve().parents[3] / "docs" / "keras-matrix.md"

# Letter in the table -> (Keras, source, model) that are refused for it; "*" for any. docs/keras-matrix.md says why.
REASONS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "a": (("keras3", "export()", "custom"), ("keras3", "export()", "subclassed")),
    "b": (("*", "*", "custom"),),
    "c": (("tf_keras", "*", "subclassed"),),
    "d": (("*", "export()", "learned_words"),),
}


def reason(place: Place) -> str:
    """The letter of the reason for which a conversion is refused; "" where there is none."""
    told = (place.keras, place.source, place.model)
    fits = (
        letter
        for letter, known in REASONS.items()
        if any(all(a in ("*", b) for a, b in zip(one, told, strict=True)) for one in known)
    )
    return next(fits, "")


@pytest.mark.parametrize("k", KERAS)
def test_what_keras_saves_it_loads_again_from_any_kind_of_file(
    k: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    found = dict(cells(k, tmp_path))
    assert {place: told for place, told in found.items() if told.wrong} == {}
    assert {place: told for place, told in found.items() if told.verdict == "refused" and not reason(place)} == {}
    lines = table(k, found)
    if request.config.getoption("--accept"):
        _accept(k, lines)
    assert [row for row in rows(DOCS.read_text("utf-8")) if row[0] == k] == rows("\n".join(lines)), "\n".join(lines)


def table(k: str, found: Mapping[Place, Cell]) -> list[str]:
    """A row for each kind of file that a Keras saves."""
    lines = []
    for source in SAVED[k]:
        told = [_cell([(p, c) for p, c in found.items() if (p.source, p.target) == (source, to)]) for to in TARGETS]
        lines.append(f"| {k} | {source} | {' | '.join(told)} |")
    return lines


def _cell(found: list[tuple[Place, Cell]]) -> str:
    letters = {reason(place) for place, told in found if told.verdict == "refused"}
    return cell([told.verdict for _, told in found], letters) if found else ""


def _accept(k: str, lines: list[str]) -> None:
    old = DOCS.read_text("utf-8").splitlines()
    first = next(number for number, line in enumerate(old) if line.startswith(f"| {k} |"))
    kept = [line for line in old if not line.startswith(f"| {k} |")]
    DOCS.write_text("\n".join([*kept[:first], *lines, *kept[first:]]) + "\n", "utf-8")


def test_what_keras_leaves_out_is_missing(tmp_path: Path) -> None:
    """tf.train.Checkpoint doesn't look into the lists of a Keras 3 model."""
    keras, subject = KERAS["keras3"], MODELS["subclassed"]
    model = subject.shaken(keras)
    SAVED["keras3"]["tf2"](model, tmp_path / "tf2")
    SAVED["keras3"][".weights.h5"](model, tmp_path / "m.weights.h5")
    report = convert(
        tmp_path / "tf2", tmp_path / "out.weights.h5", to="keras-v3", template=str(tmp_path / "m.weights.h5")
    )
    missing = {issue.name for issue in report.issues if issue.kind == "unfilled"}
    assert report.verdict == "refused"
    assert missing == {f"row{number}/{leaf}" for number in (0, 1) for leaf in ("kernel", "bias")}
