"""Every fixture into every format that can be written: verified, or refused before the first byte with the way on."""

from pathlib import Path

import pytest

from ckptmigrate import convert
from ckptmigrate.formats import FORMATS, open_checkpoint

WRITABLE = [f.name for f in FORMATS if f.writer is not None]
FIXTURE = Path(__file__).resolve().parents[2] / "fixtures" / "tf1" / "adam"
SUFFIXES = {"npz": ".npz", "safetensors": ".safetensors", "keras-v3": ".weights.h5"}


@pytest.mark.parametrize("to", WRITABLE)
def test_fixture_into(small, to, tmp_path):
    target = tmp_path / f"out{SUFFIXES.get(to, '')}"
    report = convert(small.path, target, to=to)
    if report.exit_code:
        assert report.verdict == "refused", [r for r in report.rows if r.outcome not in ("equal", "dropped")]
        assert report.exit_code == 6
        assert list(tmp_path.iterdir()) == []
        assert all(issue.hint for issue in report.issues if issue.severity == "error")
        return
    assert report.verdict == "verified"
    with open_checkpoint(target) as written:
        assert written.format == to
        values = sum(1 for _ in written.rows())
    assert values >= len([row for row in report.rows if row.outcome == "equal"])


@pytest.mark.parametrize("to", WRITABLE)
def test_same_input_same_bytes(to, tmp_path):
    """No times, no machine paths."""
    source = FIXTURE / "model.ckpt-3"
    outputs = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        convert(source, tmp_path / folder / f"out{SUFFIXES.get(to, '')}", to=to)
        home = tmp_path / folder
        outputs.append({p.relative_to(home): p.read_bytes() for p in home.rglob("*") if p.is_file()})
    assert outputs[0] == outputs[1]
    assert not any(str(tmp_path).encode() in data for data in outputs[0].values())
