"""Records of origin come with files that anybody may have written: what is none of ours says nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ckptmigrate.batch.jobs import Job
from ckptmigrate.batch.ledger import Ledger
from ckptmigrate.batch.work import is_made_by
from ckptmigrate.chosen import MappingOptions
from ckptmigrate.formats import open_checkpoint
from ckptmigrate.provenance import how_made

ODD = (None, "text", [1], {"a": []}, 10**4000, float("nan"), True)
ADAM = Path(__file__).parents[1] / "fixtures/tf1/adam"
PARTS = ("source", "flags", "mapping", "template", "left_out", "origin", "tool")
FLAGS = ("hyper", "optimizer", "drop", "names", "reverse")


@pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
def test_records_of_any_form(value):
    flags = dict.fromkeys(FLAGS, value) | {"hyper": {"learning_rate": value}}
    records = [value, dict.fromkeys(PARTS, value), {"flags": flags}, {"source": {"digest": value}}]
    with open_checkpoint(ADAM) as checkpoint:
        for record in records:
            odd = dataclasses.replace(checkpoint, metadata={"provenance": record})
            _, made = how_made(odd, MappingOptions())
            assert made is None or all(abs(v) < 1e38 for v in made.hyper.values())
            job = Job("src", "dst", {"to": "tf2", "mapping": ""})
            assert not is_made_by({"provenance": record}, job, "sha256:0")


def test_a_ledger_with_lines_of_any_form(tmp_path):
    ledger = Ledger(tmp_path / "l.jsonl")
    lines = [b"[" * 100_000, b"null", b'{"dst": 1, "status": "done"}', b"\xff", b'{"dst": "a", "status": "done"}', b""]
    ledger.path.write_bytes(b"\n".join(lines) + b'{"dst": "b", "st')
    assert [record["dst"] for record in ledger.read()] == ["a"]
    assert ledger.path.read_bytes().endswith(b'"done"}\n')
