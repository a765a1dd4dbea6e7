"""Epsilon and momentum: shown where a file holds the configuration, compared between source and template."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

import ckptmigrate
from ckptmigrate.doctor import diagnose
from ckptmigrate.issues import Issue
from ckptmigrate.listing import inspect_json
from ckptmigrate.norm_settings import NormSettings, norm_settings

ROOT = Path(__file__).resolve().parents[1] / "fixtures"
USUAL = NormSettings(0.001, 0.99)


@pytest.mark.parametrize(
    ("fixture", "layers"),
    [
        ("keras-h5/k1_adam", ["batchnormalization_1"]),
        ("keras-h5/k22_adam", ["batch_normalization_1"]),
        ("keras-h5/tfk_zoo_model", ["bn", "bn_frozen", "sub/b", "sub/deep_bn"]),
        ("keras-v3/keras3_layers", ["bn", "bn_noscale", "bn_nocenter", "sub/b"]),
        ("savedmodel/tf_keras_adam/model", ["layer_with_weights-1"]),
        ("keras-v3/keras3_weights", []),
        ("tf1/slim", []),
        ("savedmodel/keras3_saved/model", []),
    ],
)
def test_where_the_file_tells(fixture: str, layers: list[str]) -> None:
    with ckptmigrate.open(ROOT / fixture) as checkpoint:
        assert norm_settings(checkpoint) == dict.fromkeys(layers, USUAL)
        listed = {norm["layer"]: norm for norm in inspect_json(checkpoint)["batch_norms"]}
    assert {name: (norm["epsilon"], norm["momentum"]) for name, norm in listed.items() if norm["epsilon"]} == (
        dict.fromkeys(layers, (0.001, 0.99))
    )


def test_each_object_of_a_saved_model_tells_its_own() -> None:
    """Models of a class of the user's own have no configuration as a whole."""
    with ckptmigrate.open(ROOT / "savedmodel" / "tf_keras_adam" / "model") as checkpoint:
        assert checkpoint.metadata["batch_norms"] == {"bn": {"epsilon": 0.001, "momentum": 0.99}}


def configured(tmp_path: Path, name: str, **settings: float) -> Path:
    """The .keras file of a fixture with other settings in its batch normalisations."""
    found = next((ROOT / "keras-v3" / "keras3_adam").glob("*.keras"))
    changed = tmp_path / name
    with zipfile.ZipFile(found) as before, zipfile.ZipFile(changed, "w") as after:
        for member in before.namelist():
            data = before.read(member)
            if member == "config.json":
                config = json.loads(data)
                for layer in config["config"]["layers"]:
                    if layer["class_name"] == "BatchNormalization":
                        layer["config"] |= settings
                data = json.dumps(config).encode()
            after.writestr(member, data)
    return changed


def warned(tmp_path: Path, source: Path, template: Path) -> list[Issue]:
    report = ckptmigrate.convert(source, tmp_path / "out.keras", to="keras-v3", template=str(template), force=True)
    assert report.verdict == "verified"
    return [issue for issue in report.issues if issue.kind == "batchnorm"]


def test_a_difference_is_a_warning(tmp_path: Path) -> None:
    plain, other = configured(tmp_path, "a.keras"), configured(tmp_path, "b.keras", epsilon=1e-5, momentum=0.9)
    epsilon, momentum = warned(tmp_path, plain, other)
    assert {epsilon.severity, momentum.severity} == {"warning"}
    assert epsilon.message == (
        "epsilon is 0.001 in the source and 1e-05 in the template: outputs are multiplied by 1.0005 at a variance of "
        "1, 1.0483 at a variance of 0.01"
    )
    assert momentum.message.startswith("momentum is 0.99 in the source and 0.9 in the template: predictions stay")
    assert warned(tmp_path, plain, plain) == []


def test_doctor_compares_them_too(tmp_path: Path) -> None:
    plain, other = configured(tmp_path, "a.keras"), configured(tmp_path, "b.keras", epsilon=1e-5)
    (issue,) = [i for i in diagnose(plain, against=other).findings if i.kind == "batchnorm"]
    assert issue.message.startswith("epsilon is 0.001 in the source and 1e-05 in the template")


def test_files_of_other_formats_are_compared_by_their_layers(tmp_path: Path) -> None:
    other = configured(tmp_path, "b.keras", epsilon=0.5)
    saved = ROOT / "savedmodel" / "tf_keras_adam" / "model"
    report = ckptmigrate.convert(
        saved, tmp_path / "out.keras", to="keras-v3", template=str(other), optimizer="drop", dry_run=True
    )
    assert [i.name for i in report.issues if i.kind == "batchnorm"] == ["layer_with_weights-1"]
