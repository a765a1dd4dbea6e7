"""A whole port, with values: the detector that comes with the project."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from ckptmigrate import formats
from ckptmigrate.detection.compensate import SCALE
from ckptmigrate.detection.pipeline import read_pipeline
from ckptmigrate.detection.port import PortOptions, port_detection
from ckptmigrate.detection.rates import hyperparameters
from ckptmigrate.objects import ObjectGraph
from ckptmigrate.table import Checkpoint
from ckptmigrate.wire.bundle_writer import BundleWriter

OD = Path(__file__).resolve().parents[2] / "fixtures" / "od"
SOURCE, TEMPLATE = OD / "ssd_mobilenet_v2_tf1", OD / "ssd_mobilenet_v2_tf2" / "ckpt-1"
CONFIG = SOURCE / "pipeline.config"
SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"


def ported(folder: Path, **asked: object) -> Checkpoint:
    report = port_detection(CONFIG, SOURCE, folder, options=PortOptions(**asked))  # type: ignore[arg-type]
    assert (report.verdict, report.exit_code) == ("verified", 0)
    return formats.open_checkpoint(folder)


def edges(graph: ObjectGraph) -> set[tuple[str, str]]:
    """(path, first path of what it leads to) of every edge of the model's objects."""
    first, queue, found = {0: ""}, [0], set()
    for number in queue:
        for edge in graph.nodes[number].children:
            if number == 0 and edge.name == "optimizer":
                continue
            path = f"{first[number]}/{edge.name}"
            if edge.node not in first:
                first[edge.node] = path
                queue.append(edge.node)
            found.add((path, first[edge.node]))
    return found


def test_the_object_graph_has_every_edge_of_tensorflows_own(tmp_path: Path) -> None:
    written, real = ported(tmp_path / "out"), formats.open_checkpoint(TEMPLATE)
    assert written.structure.objects is not None
    assert real.structure.objects is not None
    assert edges(written.structure.objects) == edges(real.structure.objects)
    assert {v.key for v in written.variables.values()} == {v.key for v in real.variables.values()}


def test_averages_are_what_the_configuration_evaluated(tmp_path: Path) -> None:
    source = formats.open_checkpoint(SOURCE)
    (averages,) = [o for o in source.optimizers if o.kind == "ema"]
    name = "BoxPredictor_0/ClassPredictor/weights"
    key = "model/_box_predictor/_prediction_heads/class_predictions_with_background/0/_class_predictor_layers/0/kernel"
    average = next(s.tensor.read() for k, s in averages.slots.items() if k.variable == name)
    raw = source.variables[name].tensor.read()
    assert not np.array_equal(average, raw)
    assert np.array_equal(ported(tmp_path / "used").variables[key].tensor.read(), average)
    assert np.array_equal(ported(tmp_path / "raw", averages="drop").variables[key].tensor.read(), raw)
    statistics = "model/_feature_extractor/classification_backbone/layer_with_weights-1/moving_mean"
    assert np.array_equal(
        ported(tmp_path / "again").variables[statistics].tensor.read(),
        source.variables["FeatureExtractor/MobilenetV2/Conv/BatchNorm/moving_mean"].tensor.read(),
    )


def test_rows_of_the_classes_that_go_on(tmp_path: Path) -> None:
    labels = tmp_path / "new.pbtxt"
    names = enumerate(("horse", "cow", "cat"), start=1)
    labels.write_text("".join(f"item {{ id: {number} name: '{name}' }}\n" for number, name in names))
    written = ported(tmp_path / "out", classes=str(labels), averages="drop")
    name = "BoxPredictor_1/ClassPredictor/weights"
    key = "model/_box_predictor/_prediction_heads/class_predictions_with_background/1/_class_predictor_layers/0/kernel"
    old = formats.open_checkpoint(SOURCE).variables[name].tensor.read().reshape(-1, 6, 4)
    new = written.variables[key].tensor.read().reshape(-1, 6, 4)
    assert np.array_equal(new[:, :, [0, 1, 3]], old[:, :, [0, 3, 1]])
    assert not new[:, :, 2].any()
    (rmsprop,) = [o for o in written.optimizers if o.kind == "rmsprop"]
    rms = next(s.tensor.read() for k, s in rmsprop.slots.items() if k.variable == key and k.slot == "rms")
    assert not rms.reshape(-1, 6, 4)[:, :, 2].any()
    assert rms.reshape(-1, 6, 4)[:, :, 1].all()


def test_another_number_of_classes(tmp_path: Path) -> None:
    written = ported(tmp_path / "out", num_classes=10)
    heads = [v for v in written.variables.values() if "class_predictions_with_background" in v.name]
    assert {v.tensor.shape[-1] for v in heads} == {3 * 11, 6 * 11}
    assert not any(v.tensor.read().any() for v in heads)
    assert read_pipeline(tmp_path / "out").num_classes == 10


def test_the_folder_is_published_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "out"
    ported(out)
    names = sorted(path.name for path in out.iterdir())
    assert names == ["checkpoint", "ckpt-0.data-00000-of-00001", "ckpt-0.index", "pipeline.config"]
    again = port_detection(CONFIG, SOURCE, out)
    assert (again.verdict, again.exit_code) == ("refused", 7)
    shutil.rmtree(out)
    out.mkdir()
    (out / "pipeline.config").write_text("mine")
    taken = port_detection(CONFIG, SOURCE, out)
    assert (taken.verdict, taken.exit_code) == ("refused", 7)
    assert sorted(path.name for path in out.iterdir()) == ["pipeline.config"]
    assert port_detection(CONFIG, SOURCE, out, force=True).verdict == "verified"


def test_a_template_stands_for_the_derived_model(tmp_path: Path) -> None:
    derived, given = ported(tmp_path / "derived"), ported(tmp_path / "given", template=str(TEMPLATE))
    assert given.variables.keys() == derived.variables.keys()


def test_compensation_is_for_resnets(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="--compensate inference is for SSD ResNet FPN models"):
        ported(tmp_path / "out", compensate="inference")
    assert np.float32(SCALE) * np.float32(1 / SCALE) == 1


@pytest.mark.parametrize(
    ("rate", "step", "expected"),
    [
        ("constant_learning_rate { learning_rate: 0.5 }", None, 0.5),
        ("exponential_decay_learning_rate { initial_learning_rate: 1 decay_steps: 10 decay_factor: 0.5 }", 10, 1.0),
        ("exponential_decay_learning_rate { initial_learning_rate: 1 decay_steps: 10 decay_factor: 0.5 }", 11, 0.5),
        ("exponential_decay_learning_rate { initial_learning_rate: 1 }", None, None),
        (
            "exponential_decay_learning_rate { initial_learning_rate: 1 decay_steps: 10 decay_factor: 0.25 "
            "staircase: false }",
            6,
            0.5,
        ),
        (
            "manual_step_learning_rate { initial_learning_rate: 3 schedule { step: 5 learning_rate: 2 } "
            "schedule { step: 9 learning_rate: 1 } }",
            6,
            2.0,
        ),
        ("cosine_decay_learning_rate { learning_rate_base: 2 total_steps: 10 warmup_steps: 0 }", 6, 1.0),
    ],
)
def test_the_rate_of_the_last_step(tmp_path: Path, rate: str, step: int | None, expected: float | None) -> None:
    text = CONFIG.read_text("utf-8")
    start = text.index("learning_rate {")
    end = text.index("momentum_optimizer_value")
    file = tmp_path / "pipeline.config"
    file.write_text(f"{text[:start]}learning_rate {{ {rate} }}\n{text[end:]}")
    told = hyperparameters(read_pipeline(file), step)
    assert told.get("learning_rate") == (None if expected is None else pytest.approx(expected))
    assert told["momentum"] == 0.9


def test_a_classification_checkpoint_becomes_the_backbone(tmp_path: Path) -> None:
    source = formats.open_checkpoint(SOURCE)
    writer = BundleWriter(tmp_path, "mobilenet_v2.ckpt")
    for name, variable in sorted(source.variables.items()):
        slim = name.removeprefix("FeatureExtractor/")
        if slim.startswith("MobilenetV2/") and "/layer_19_" not in slim:
            writer.add_array(slim, variable.tensor.dtype.tf, variable.tensor.read())
    writer.add_array("MobilenetV2/Logits/Conv2d_1c_1x1/weights", 1, np.ones((1, 1, 160, 4), np.float32))
    writer.finish()
    report = port_detection(CONFIG, tmp_path / "mobilenet_v2.ckpt", tmp_path / "out")
    assert (report.verdict, report.exit_code) == ("verified", 0)
    with formats.open_checkpoint(tmp_path / "out") as written:
        first = written.variables["feature_extractor/layer_with_weights-0/kernel"]
        assert first.aliases["full_name"] == ("Conv1/kernel",)
        kernel = source.variables["FeatureExtractor/MobilenetV2/Conv/weights"].tensor.read()
        assert np.array_equal(first.tensor.read(), kernel)
        assert not any(name.startswith("model/") for name in written.variables)
        assert written.structure.objects is not None
        layers = {path.removeprefix("/feature_extractor") for path, _ in edges(written.structure.objects)}
    whole = formats.open_checkpoint(TEMPLATE).structure.objects
    assert whole is not None
    at = "/model/_feature_extractor/classification_backbone"
    assert {p.removeprefix(at) for p, _ in edges(whole) if p.startswith(at)} <= layers
    told = read_pipeline(tmp_path / "out").document.text_of("train_config", "fine_tune_checkpoint_type")
    assert told == "classification"
