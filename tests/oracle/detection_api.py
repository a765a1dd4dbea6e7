"""The Object Detection API as judge: the TF1 model and its port give the same raw outputs. A script, no test.

It needs an environment in which both sides of the API run, and ckptmigrate in any other:

    python3.11 -m venv api
    api/bin/pip install tensorflow-cpu==2.12.1 tf-slim==1.1.0 protobuf==3.20.3 numpy==1.23.5 six matplotlib==3.7.5 \\
        pillow lxml scipy==1.11.4 pandas==2.0.3 pycocotools==2.0.7 pyyaml gin-config tensorflow-hub==0.13.0
    api/bin/pip install --no-deps tf-models-research-object-detection==2.8.0.post1 tf-models-official==2.13.2
    api/bin/python tests/oracle/detection_api.py --ckptmigrate .venv/bin/ckptmigrate PIPELINE_CONFIG...

For every pipeline.config the TF1 model is built with random values (statistics included) and saved by TF1's Saver; what
`ckptmigrate port-detection` makes of it is restored by the API's own code, nothing unmatched; both see the same image.
It prints, for each raw output, the largest difference relative to the largest value.
"""

from __future__ import annotations

import argparse
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import numpy as np

SEED = 5
ROUNDING = 1e-5
IGNORED = ("anchors", "image_shape", "num_detections")  # nothing of weights in them


def imported() -> Any:
    """TensorFlow, with what the API imports and never uses here stubbed out."""
    found = importlib.util.find_spec("object_detection")
    assert found is not None
    assert found.origin is not None
    sys.path.insert(0, str(Path(found.origin).parent))  # slim's nets lie there
    sys.meta_path.append(_Stubs())
    import tensorflow

    return tensorflow


class _Stubs(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Modules that the API imports and that no TensorFlow 2 has: empty ones, whatever is taken from them."""

    def find_spec(self, name: str, *_: Any) -> Any:
        if name.split(".")[:2] == ["tensorflow", "contrib"] or name.partition(".")[0] == "tensorflow_io":
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> Any:
        return _Stub(spec.name)

    def exec_module(self, module: Any) -> None:
        """There is nothing to run."""


class _Stub(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Stub(f"{self.__name__}.{name}")

    def __call__(self, *_: Any, **__: Any) -> Any:
        return _Stub(self.__name__)


def image(config: Any) -> np.ndarray[Any, Any]:
    """One picture of noise, of the size that the model resizes to."""
    resizer = (config.ssd if config.HasField("ssd") else config.faster_rcnn).image_resizer
    fixed = resizer.fixed_shape_resizer
    size = (fixed.height, fixed.width) if resizer.HasField("fixed_shape_resizer") else (320, 320)
    return np.random.default_rng(SEED).uniform(0, 255, (1, *size, 3)).astype(np.float32)


def read(path: str) -> Any:
    """The `model` of a pipeline.config."""
    from object_detection.utils import config_util

    return config_util.get_configs_from_pipeline_file(path)["model"]


def tf1(config: str, folder: Path) -> None:
    """The TF1 model with random values: saved as `model.ckpt`, its raw outputs in `tf1.npz`."""
    tf = imported().compat.v1
    tf.disable_v2_behavior()
    from object_detection.builders import model_builder

    settings = read(config)
    with tf.Graph().as_default(), tf.Session() as session:
        model = model_builder.build(settings, is_training=False)
        images, shapes = model.preprocess(tf.constant(image(settings)))
        outputs = predicted(model, images, shapes)
        random = np.random.default_rng(SEED)
        for variable in tf.global_variables():
            shape = variable.shape.as_list()
            is_depthwise = variable.op.name.endswith("depthwise_weights")  # a sum over the window alone
            fan_in = max(1, int(np.prod(shape[: 2 if is_depthwise else -1])))
            values = random.standard_normal(shape) / np.sqrt(fan_in) if len(shape) > 1 else random.normal(0, 0.1, shape)
            if variable.op.name.endswith(("gamma", "moving_variance")):
                values = 1 + np.abs(values)
            variable.load(values.astype(variable.dtype.base_dtype.as_numpy_dtype), session)
        session.run(tf.local_variables_initializer())
        tf.train.Saver().save(session, str(folder / "model.ckpt"), write_meta_graph=False)
        np.savez(folder / "tf1.npz", **session.run(outputs))


def tf2(config: str, folder: Path) -> None:
    """The ported model, restored as the API does for `full`; its raw outputs in `tf2.npz`."""
    tf = imported()
    from object_detection.builders import model_builder

    settings = read(config)
    model = model_builder.build(settings, is_training=False)
    images, shapes = model.preprocess(tf.constant(image(settings)))
    predicted(model, images, shapes)  # makes the variables
    objects = model.restore_from_objects(fine_tune_checkpoint_type="full")
    restored = tf.train.Checkpoint(**objects).restore(str(folder / "port" / "ckpt-0"))
    restored.expect_partial().assert_existing_objects_matched()
    outputs = predicted(model, images, shapes)
    np.savez(folder / "tf2.npz", **{name: value.numpy() for name, value in outputs.items()})


def predicted(model: Any, images: Any, shapes: Any) -> dict[str, Any]:
    """The raw outputs by name, lists of them numbered."""
    found: dict[str, Any] = {}
    for name, value in model.predict(images, shapes).items():
        if name in IGNORED:
            continue
        if isinstance(value, (list, tuple)):
            found.update({f"{name}_{number}": item for number, item in enumerate(value)})
        elif hasattr(value, "dtype"):
            found[name] = value
    return found


def compared(folder: Path) -> dict[str, str]:
    """Output -> largest difference, of the largest value, and how many values are further apart than rounding makes.

    Of R-CNNs a proposal whose border is 1 on one side and 1.0000001 on the other is cropped differently: one in 300.
    """
    found = {}
    with np.load(folder / "tf1.npz") as ours, np.load(folder / "tf2.npz") as theirs:
        for name in ours.files:
            if name in theirs.files and ours[name].shape == theirs[name].shape:
                apart = np.abs(ours[name] - theirs[name]) / max(np.abs(ours[name]).max(), 1e-30)
                found[name] = f"{apart.max():.1e}, {(apart > ROUNDING).mean():.2%} of the values above {ROUNDING:g}"
    return found


def judged(config: str, ckptmigrate: str, more: list[str]) -> dict[str, Any]:
    """One model, each side in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        this = [sys.executable, __file__, "--folder", name]
        plain = {
            **os.environ,
            "TF_ENABLE_ONEDNN_OPTS": "0",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }  # the same kernels on both sides
        subprocess.run([*this, "--side", "tf1", config], check=True, env=plain)
        port = [ckptmigrate, "port-detection", config, str(folder / "model.ckpt"), str(folder / "port"), *more]
        done = subprocess.run(port, capture_output=True, text=True, check=False)
        if done.returncode:
            return {"refused": done.stdout.splitlines() or done.stderr.splitlines()}
        subprocess.run([*this, "--side", "tf2", str(folder / "port" / "pipeline.config")], check=True, env=plain)
        return dict(compared(folder))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckptmigrate", default="ckptmigrate")
    parser.add_argument("--side", choices=("tf1", "tf2"))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--option", action="append", default=[], help="another option of port-detection")
    parser.add_argument("configs", nargs="+")
    asked = parser.parse_args()
    if asked.side:
        {"tf1": tf1, "tf2": tf2}[asked.side](asked.configs[0], asked.folder)
        return
    for config in asked.configs:
        print(json.dumps({Path(config).name: judged(config, asked.ckptmigrate, asked.option)}, indent=1), flush=True)


if __name__ == "__main__":
    main()
