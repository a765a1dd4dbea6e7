"""Models of old Keras predict in today's Keras what they predicted when they were saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptmigrate import CkptMigrateError, convert, verify
from ckptmigrate.framework import configuration, configuring

pytestmark = pytest.mark.oracle
tf_keras = pytest.importorskip("tf_keras", reason="the tensorflow extra isn't installed")
keras = pytest.importorskip("keras", reason="the tensorflow extra isn't installed")

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "keras-h5"
KEPT = sorted(path.parents[1].name for path in FIXTURES.glob("*/assets/predictions.npz"))
WHOLE = [name for name in KEPT if not name.endswith("weights")]
WEIGHTS = [name for name in KEPT if name.endswith("weights")]
LOCAL = [name for name in WHOLE if "images" in name and not name.startswith("k10")]  # with layers that Keras 3 lacks


@pytest.fixture(autouse=True)
def asked_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras translates in this process, which has it: a child takes five seconds (test_configuration.py has them)."""
    monkeypatch.setattr(configuration, "ask", lambda module, request, folder, timeout: configuring.told(request))


def agree(name: str, model: Any) -> None:
    """Through XLA, which convolves images ordered (channel, row, column) on CPUs, too."""
    with np.load(FIXTURES / name / "assets" / "predictions.npz") as kept:
        batch, expected = [kept[key] for key in sorted(kept) if key != "y"], kept["y"]
    model.compile(jit_compile=True)
    found = model.predict(batch if len(batch) > 1 else batch[0], verbose=0)
    assert np.ptp(expected) > 0.01 * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def whole(name: str, target: Path, to: str, **options: Any) -> Path:
    """A fixture converted, verified, and verified again from what the output tells."""
    report = convert(FIXTURES / name / "model.h5", target, to=to, **options)
    assert report.verdict == "verified", [issue for issue in report.issues if issue.severity != "note"]
    again = verify(FIXTURES / name / "model.h5", target)
    assert again.verdict == "verified", [row for row in again.rows if row.outcome not in ("equal", "dropped")]
    return target


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize(("to", "file"), [("keras-h5", "model.h5"), ("keras-v3", "model.keras")])
def test_a_whole_model_in_tf_keras(name: str, to: str, file: str, tmp_path: Path) -> None:
    agree(name, tf_keras.models.load_model(whole(name, tmp_path / file, to), compile=False))


def hard_sigmoid(x: Any) -> Any:
    """As every Keras before 3 has it."""
    return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)


@pytest.mark.parametrize("name", [name for name in WHOLE if name not in LOCAL])
@pytest.mark.parametrize(("to", "file"), [("keras-h5", "model.h5"), ("keras-v3", "model.keras")])
def test_a_whole_model_in_keras_3(
    name: str, to: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = whole(name, tmp_path / file, to, flavor="keras3", allow_loss=True)
    monkeypatch.setitem(keras.src.activations.ALL_OBJECTS_DICT, "hard_sigmoid", hard_sigmoid)
    agree(name, keras.models.load_model(target, compile=False))


@pytest.mark.parametrize("name", LOCAL)
def test_layers_that_keras_3_lacks(name: str, tmp_path: Path) -> None:
    with pytest.raises(CkptMigrateError, match="LocallyConnected2D") as caught:
        convert(FIXTURES / name / "model.h5", tmp_path / "model.keras", to="keras-v3", flavor="keras3")
    assert caught.value.exit_code == 6
    assert "--template" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize(("to", "file"), [("keras-h5", "model.h5"), ("tf2", "ckpt")])
def test_weights_in_a_model_built_anew(name: str, to: str, file: str, tmp_path: Path) -> None:
    """The model is that of the fixture beside it, saved whole."""
    sibling = "k2_theano_channels_last" if name == "k2_theano_weights" else name.replace("weights", "th")
    model = tf_keras.models.load_model(whole(sibling, tmp_path / "whole.h5", "keras-h5"), compile=False)
    loaded = model.load_weights(whole(name, tmp_path / file, to, flavor="tf_keras"))
    if to == "tf2":
        loaded.assert_existing_objects_matched()
    agree(name, model)


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_by_a_template(name: str, tmp_path: Path) -> None:
    """Layers of the template may be called otherwise."""
    sibling = "k2_theano_channels_last" if name == "k2_theano_weights" else name.replace("weights", "th")
    model = tf_keras.models.load_model(whole(sibling, tmp_path / "whole.h5", "keras-h5"), compile=False)
    model.save(tmp_path / "template.keras")
    template = str(tmp_path / "template.keras")
    target = whole(name, tmp_path / "out.keras", "keras-v3", template=template)
    agree(name, tf_keras.models.load_model(target, compile=False))
