"""README.md's table of Keras' files says what docs/keras-matrix.md says; neither needs Keras to be read."""

from __future__ import annotations

from pathlib import Path

from keras_matrix.tables import rows, summary

ROOT = Path(__file__).resolve().parents[3]


def test_the_readme_has_both_keras_in_one_table() -> None:
    section = (ROOT / "README.md").read_text("utf-8").split("## Keras files\n", 1)[1].split("\n## ", 1)[0]
    long = rows((ROOT / "docs" / "keras-matrix.md").read_text("utf-8"))
    expected = [f"| {' | '.join(row)} |" for row in summary(long)]
    assert [line for line in section.splitlines() if line.startswith("|")][2:] == expected, "\n".join(expected)
