"""The fixtures are what their manifest says."""

import hashlib
import json
from pathlib import Path

from ckptmigrate.formats import FORMATS

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
MANIFEST = json.loads((FIXTURES / "MANIFEST.json").read_text())


def test_manifest_lists_every_file_with_its_hash():
    told = {f"{folder}/{name}": f["sha256"] for folder, m in MANIFEST.items() for name, f in m["files"].items()}
    files = [p for p in FIXTURES.glob("*/*/**/*") if p.is_file() and p.relative_to(FIXTURES).parts[0] != "make"]
    found = {p.relative_to(FIXTURES).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
    assert found == told


def test_fixtures_stay_small():
    assert sum(f["bytes"] for m in MANIFEST.values() for f in m["files"].values()) < 20e6


def test_every_format_has_a_fixture():
    assert {f.name for f in FORMATS} <= {m["format"] for m in MANIFEST.values()}
