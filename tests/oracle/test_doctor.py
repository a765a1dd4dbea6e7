"""What doctor says would be restored is what TensorFlow restores, and what it says TensorFlow says is what it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptmigrate
from ckptmigrate.doctor import diagnose
from ckptmigrate.doctor.matching import match

pytestmark = pytest.mark.oracle
tf = pytest.importorskip("tensorflow", reason="the tensorflow extra isn't installed")
keras = pytest.importorskip("tf_keras", reason="the tensorflow extra isn't installed")

UNTOUCHED = 7.5


def model(*units: int, first: str = "a") -> Any:
    """A net of dense layers and a batch normalisation, its layers by name."""
    layers = [keras.layers.Dense(n, name=f"{first}{i}") for i, n in enumerate(units)]
    made = keras.Sequential([*layers, keras.layers.BatchNormalization(name="bn")])
    made.build((None, 3))
    return made


def trained(made: Any) -> Any:
    made.compile(keras.optimizers.legacy.Adam(0.01), "mse")
    made.fit(np.ones((4, 3)), np.ones((4, made.output_shape[-1])), verbose=0)
    return made


def subclassed(*names: str) -> Any:
    made = tf.Module()
    for i, name in enumerate(names):
        setattr(made, name, tf.Variable(np.full((2, i + 1), 0.25, np.float32), name=name))
    return made


def with_optimizer(name: str) -> Any:
    made = trained(model(4, 2))
    return tf.train.Checkpoint(model=made, **{name: made.optimizer})


# A program that saved, and the one that restores.
PAIRS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "the same": lambda: (tf.train.Checkpoint(model=model(4, 2)), tf.train.Checkpoint(model=model(4, 2))),
    "another child": lambda: (tf.train.Checkpoint(net=model(4, 2)), tf.train.Checkpoint(model=model(4, 2))),
    "the model alone": lambda: (tf.train.Checkpoint(model=model(4, 2)), tf.train.Checkpoint(model(4, 2))),
    "another depth": lambda: (tf.train.Checkpoint(model=model(4, 2)), tf.train.Checkpoint(model=model(4))),
    "some attributes": lambda: (subclassed("x", "y", "z"), subclassed("w", "y", "z")),
    "with its optimizer": lambda: (with_optimizer("optimizer"), with_optimizer("optimizer")),
    "an optimizer elsewhere": lambda: (with_optimizer("opt"), with_optimizer("optimizer")),
    "lists of another order": lambda: (
        tf.train.Checkpoint(vs=[tf.Variable([1.0]), tf.Variable([2.0])]),
        tf.train.Checkpoint(vs=[tf.Variable([1.0]), tf.Variable([2.0]), tf.Variable([3.0])]),
    ),
}


NOTHING = frozenset({"another child", "the model alone"})  # is restored of these


def checkpoint(given: Any) -> Any:
    return given if isinstance(given, tf.train.Checkpoint) else tf.train.Checkpoint(given)


def variables(tracked: Any, seen: dict[int, Any]) -> dict[int, Any]:
    """Every variable below an object, an optimizer's slots among them, by identity."""
    for child in (*tracked._trackable_children().values(), *getattr(tracked, "weights", ())):
        if id(child) not in seen:
            seen[id(child)] = child
            variables(child, seen)
    return {number: found for number, found in seen.items() if isinstance(found, tf.Variable)}


def floats(prefix: str) -> dict[str, np.ndarray[Any, Any]]:
    reader = tf.train.load_checkpoint(prefix)
    found = {key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map()}
    return {key: values for key, values in found.items() if np.asarray(values).dtype == np.float32}


@pytest.mark.parametrize("name", PAIRS)
def test_objects(name: str, tmp_path: Path) -> None:
    """Every variable of the restoring program is filled with one number; those that lose it are those we said."""
    source, target = map(checkpoint, PAIRS[name]())
    near, far = source.save(str(tmp_path / "near" / "ckpt")), target.save(str(tmp_path / "far" / "ckpt"))
    for variable in variables(target, {}).values():
        if variable.dtype == tf.float32:
            variable.assign(tf.fill(variable.shape, UNTOUCHED))
    assert all(np.all(values == UNTOUCHED) for values in floats(target.write(str(tmp_path / "filled"))).values())
    target.restore(near)
    after = floats(target.write(str(tmp_path / "after")))
    with ckptmigrate.open(near) as one, ckptmigrate.open(far) as other:
        said = match(one, other).keys
    assert {key for key, values in after.items() if np.any(values != UNTOUCHED)} == said.keys() & after.keys()
    assert (name in NOTHING) == (not said.keys() & after.keys())


def test_another_root(tmp_path: Path) -> None:
    """What is proposed restores what would stay as it is."""
    near = tf.train.Checkpoint(net=model(4, 2)).save(str(tmp_path / "near" / "ckpt"))
    target = model(4, 2)
    far = tf.train.Checkpoint(target).save(str(tmp_path / "far" / "ckpt"))
    hint = next(i.hint for i in diagnose(near, against=far).findings if i.kind == "unrestored")
    line = hint.splitlines()[0]
    assert line == f"8 of 8: tf.train.Checkpoint(net=OBJECT).restore({near!r}), OBJECT being the root there"
    tf.train.Checkpoint(net=target).restore(near).assert_existing_objects_matched()


def listed(*order: str) -> tuple[Any, Any]:
    """A Checkpoint of two variables and an optimizer that lists them in an order, and the optimizer."""
    held = {name: tf.Variable([[1.0, 2.0]], name=name) for name in "ab"}
    optimizer = keras.optimizers.Adam(0.1)
    optimizer.build([held[name] for name in order])
    optimizer.apply_gradients([(tf.fill((1, 2), 1.0 + "ab".index(name)), held[name]) for name in order])
    return tf.train.Checkpoint(**held, optimizer=optimizer), optimizer


def test_lists_of_another_order(tmp_path: Path) -> None:
    """The moments of one variable become the other's, and nothing is said of it but by doctor."""
    source, _ = listed("a", "b")
    near = source.save(str(tmp_path / "near" / "ckpt"))
    target, optimizer = listed("b", "a")
    far = target.save(str(tmp_path / "far" / "ckpt"))
    before = [m.numpy() for m in optimizer._momentums]
    target.restore(near).assert_existing_objects_matched()
    after = [m.numpy() for m in optimizer._momentums]
    assert np.array_equal(after, before[::-1])
    (issue,) = [i for i in diagnose(near, against=far).findings if i.kind == "slot"]
    assert issue.message.startswith("4 of 4 slots would become another variable's")
    mended = str(tmp_path / "mended")
    assert ckptmigrate.convert(near, mended, to="tf2", template=far).verdict == "verified"
    target.restore(mended).assert_existing_objects_matched()
    assert np.array_equal([m.numpy() for m in optimizer._momentums], before)  # of each variable its own
    same, _ = listed("a", "b")
    again = diagnose(near, against=same.save(str(tmp_path / "same" / "ckpt")))
    assert [i for i in again.findings if i.severity == "error"] == []


def saved_by_name(folder: Path, shapes: dict[str, tuple[int, ...]]) -> str:
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        for name, shape in shapes.items():
            v1.get_variable(name, shape, initializer=v1.ones_initializer(), use_resource=False)
        session.run(v1.global_variables_initializer())
        return str(v1.train.Saver().save(session, str(folder / "model.ckpt"), write_meta_graph=False))


def restored_by_name(prefix: str, shapes: dict[str, tuple[int, ...]]) -> str:
    """What Saver says."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        for name, shape in shapes.items():
            v1.get_variable(name, shape, use_resource=False)
        try:
            v1.train.Saver().restore(session, prefix)
        except (tf.errors.OpError, ValueError) as error:
            return str(error)
    return ""


@pytest.mark.parametrize(
    ("mine", "theirs", "kind", "said"),
    [
        ({"a": (2,), "b": (3,)}, {"a": (2,)}, "unused", ""),
        ({"a": (2,)}, {"a": (2,), "b": (3,)}, "unrestored", "not found in checkpoint"),
        ({"a": (2,)}, {"a": (5,)}, "shape", "Assign requires shapes of both tensors to match"),
    ],
)
def test_names(
    mine: dict[str, tuple[int, ...]], theirs: dict[str, tuple[int, ...]], kind: str, said: str, tmp_path: Path
) -> None:
    prefix, other = saved_by_name(tmp_path / "mine", mine), saved_by_name(tmp_path / "theirs", theirs)
    found = diagnose(prefix, against=other)
    assert kind in [issue.kind for issue in found.findings]
    told = restored_by_name(prefix, theirs)
    assert (said in told) if said else told == ""
    assert found.exit_code == bool(said)


def test_a_name_based_file_for_a_program_of_objects(tmp_path: Path) -> None:
    """TensorFlow goes by the variables' own names then."""
    prefix = saved_by_name(tmp_path / "mine", {"a0/kernel": (3, 4), "a0/bias": (4,), "other": (1,)})
    target = tf.train.Checkpoint(model=model(4))
    far = target.save(str(tmp_path / "far" / "ckpt"))
    with ckptmigrate.open(prefix) as one, ckptmigrate.open(far) as other:
        said = match(one, other)
    target.restore(prefix)
    after = floats(target.write(str(tmp_path / "after")))
    restored = {key for key, values in after.items() if values.shape in ((3, 4), (4,)) and np.all(values == 1)}
    assert {key for key in said.keys if "layer_with_weights-0" in key} == {k for k in restored if "weights-0" in k}
    assert len(said.keys) == 2


def test_what_is_said_to_a_path(tmp_path: Path) -> None:
    made = tf.train.Checkpoint(v=tf.Variable([1.0]))
    prefix = made.save(str(tmp_path / "ckpt"))
    made.v.assign([UNTOUCHED])
    made.restore(f"{prefix}.index")  # says nothing
    assert made.v.numpy() == UNTOUCHED
    for path, message in ((f"{prefix}.data-00000-of-00001", "not an sstable"), (str(tmp_path), "Is a directory")):
        with pytest.raises(tf.errors.OpError, match=message):
            made.restore(path)
        assert message in next(i.message for i in diagnose(path).findings if i.kind == "path")


def test_a_state_file_that_points_nowhere(tmp_path: Path) -> None:
    prefix = tf.train.Checkpoint(v=tf.Variable([1.0])).save(str(tmp_path / "ckpt"))
    assert tf.train.latest_checkpoint(str(tmp_path)) == prefix
    assert [i for i in diagnose(tmp_path).findings if i.kind == "state"] == []
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "/another/machine/ckpt-1"\n')
    assert tf.train.latest_checkpoint(str(tmp_path)) is None
    (issue,) = [i for i in diagnose(tmp_path).findings if i.kind == "state"]
    assert "tf.train.latest_checkpoint answers None" in issue.message
