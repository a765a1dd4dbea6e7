"""2,000 mutated files of each reader: each is read or refused with our error, in time and in bounded memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = Path(__file__).with_name("child.py")
READERS = ("bundle", "v1", "safetensors", "hdf5", "keras", "npz", "graph", "mapping", "manifest", "config")
GROWN = 512  # MiB


@pytest.mark.fuzz
@pytest.mark.parametrize("first", range(0, 2000, 500))
@pytest.mark.parametrize("reader", READERS)
def test_mutated_files(reader, first):
    command = [sys.executable, str(CHILD), reader, str(first), "500"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, f"died at or after the last case named: {done.stderr[-2000:]}"
    found = json.loads(done.stdout)
    assert found["failures"] == []
    assert sum(found["outcomes"].values()) == 500
    assert len(found["outcomes"]) > 1, "the mutations are all met in one way: they don't get past the first check"
    assert found["grown"] < GROWN
