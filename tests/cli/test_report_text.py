"""The report as a person reads it."""

from __future__ import annotations

from ckptmigrate.cli.report import report_lines
from ckptmigrate.issues import Issue
from ckptmigrate.report import Report, Row

SOURCE = {"path": "train/model.ckpt-300", "format": "tf1"}
TARGET = {"path": "out/ckpt-0", "format": "tf2", "files": ["out/ckpt-0.data-00000-of-00001", "out/ckpt-0.index"]}


def test_a_verified_conversion() -> None:
    rows = [
        *(
            Row(f"block_{n}/kernel", "", f"expanded_conv_{n}/weights", "equal", ("transpose [1, 0]",), "inverse")
            for n in range(3)
        ),
        Row("head/bias", "", "head/biases", "equal", (), "recomputed"),
        Row("block_0/kernel", "rms", "expanded_conv_0/weights:rms", "equal", ("transpose [1, 0]",), "inverse"),
        Row("head/bias", "rms", "head/biases:rms", "equal", (), "inverse"),
        Row("new/scale", "", "", "filled", ("ones",)),
        *(Row(f"aux_{n}/w", "", f"aux_{n}/w", "dropped", detail="no auxiliary classifier") for n in range(2)),
    ]
    issues = (Issue("guess", "note", "", "the averages stand beside the raw weights", "--averages use"),)
    details = {"bytes_moved": 12, "bytes_cloned": 12_000_000, "seconds": 0.4321}
    report = Report(SOURCE, TARGET, "verified", tuple(rows), issues, details=details)
    assert list(report_lines(report, hint="ckptmigrate inspect out/ckpt-0")) == [
        "verified: 6 of 6 tensors equal (5 by inverse, 1 by recomputation), 1 filled, 2 dropped",
        "  from   train/model.ckpt-300  [tf1]",
        "  to     out/ckpt-0  [tf2]",
        "  files  ckpt-0.data-00000-of-00001, ckpt-0.index",
        "  work   12 MB taken over as they lie, 12 B written, 0.43 s",
        "",
        "what went where (4)",
        "  expanded_conv_{0..2}/weights -> block_{0..2}/kernel  x3",
        "      transpose [1, 0]",
        "  head/biases -> head/bias",
        "",
        "slots (2)",
        "  rms  x1  transpose [1, 0]",
        "  rms  x1  as stored",
        "",
        "filled (1)",
        "  new/scale",
        "      ones",
        "",
        "dropped (2)",
        "  aux_{0,1}/w  x2",
        "      no auxiliary classifier",
        "",
        "note: the averages stand beside the raw weights",
        "  hint:  --averages use",
        "",
        "next: ckptmigrate inspect out/ckpt-0",
    ]


def test_what_a_group_of_rows_has_in_common_is_said_once() -> None:
    def told(*details: str) -> list[str]:
        rows = tuple(Row(f"head_{n}/w", "", "", "filled", detail=detail) for n, detail in enumerate(details))
        lines = list(report_lines(Report(SOURCE, TARGET, "verified", rows)))
        return lines[lines.index(f"filled ({len(details)})") + 2 :]

    one, two = "with 0; had shape [2]", "with 0; had shape [3]"
    assert told(one, one) == [f"      {one}"]
    assert told(one, two, one) == [f"      {one}", f"      {two}"]
    assert told(one, two, "as is") == [f"      {one}", f"      {two}", "      ..."]


def test_differences_come_first_and_are_cut_at_twenty() -> None:
    rows = [Row(f"v{chr(97 + n)}", "", "", "differs", detail=f"at [{n}]") for n in range(22)]
    lines = list(report_lines(Report(SOURCE, TARGET, "differs", (*rows, Row("w", "", "w", "equal")))))
    assert lines[0] == "differs: 1 of 23 tensors equal, 22 differ"
    assert lines[4] == "differs (22)"
    assert lines[25] == "  ... and 24 more; --json lists all"


def test_a_refusal() -> None:
    issues = (Issue("unholdable", "loss", "x", "npz has no strings"), Issue("unmatched", "error", "y", "no rule"))
    lines = list(report_lines(Report(SOURCE, TARGET, "refused", (), issues)))
    assert lines[0] == "refused; nothing was written: 1 error, 1 loss"
    assert lines[-2:] == ["error: y: no rule", "loss: x: npz has no strings"]
