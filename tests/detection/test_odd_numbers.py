"""Numbers that a configuration can hold and no model has: our error with a place, nothing allocated for them."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import pytest

from ckptmigrate.detection.labels import read_labels
from ckptmigrate.detection.port import port_detection
from ckptmigrate.errors import CkptMigrateError, SourceError

SOURCE = Path(__file__).parents[2] / "fixtures/od/ssd_mobilenet_v2_tf1"
ODD = ("inf", "nan", "1e400", "-1", "0", "999999999999", "9" * 5000, '"x"')


@pytest.mark.parametrize("field", ["num_classes", "depth_multiplier", "min_depth", "kernel_size"])
def test_odd_numbers(field, tmp_path):
    text = (SOURCE / "pipeline.config").read_text()
    assert re.search(rf"{field}: *[\d.]+", text)
    for value in ODD:
        file = tmp_path / "pipeline.config"
        file.write_text(re.sub(rf"{field}: *[\d.]+", f"{field}: {value}", text, count=1))
        with suppress(CkptMigrateError):
            assert port_detection(file, SOURCE, tmp_path / "out", dry_run=True).exit_code in (0, 5, 6)


@pytest.mark.parametrize("number", ["0" * 9 + "9" * 5000, "9" * 9, "-1", "1e3"])
def test_odd_ids(number, tmp_path):
    (tmp_path / "labels.pbtxt").write_text(f"item {{ id: {number} name: 'x' }}")
    with pytest.raises(SourceError):
        read_labels(tmp_path / "labels.pbtxt")
