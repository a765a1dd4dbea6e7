"""What a program would restore: by keys, by object paths, by layers' names; and the commands that bring the rest."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import ckptmigrate
from ckptmigrate.cli.main import main
from ckptmigrate.doctor import Diagnosis, diagnose
from ckptmigrate.doctor.case import Case
from ckptmigrate.doctor.heads import heads, patterns
from ckptmigrate.doctor.matching import match_objects, offset
from ckptmigrate.doctor.nearest import moved_scope
from ckptmigrate.doctor.restoring import examine_restoring
from ckptmigrate.dtypes import FLOAT32
from ckptmigrate.objects import VALUE_SUFFIX, Attribute, Edge, Node, ObjectGraph, SlotReference
from ckptmigrate.table import Checkpoint, OptimizerState, SlotKey, Stored, Tensor, Variable

from .conftest import Arrays

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
Examined = Callable[..., Diagnosis]


def run(command: str, folder: Path) -> int:
    """The exit code of a command that was proposed, with DST in a folder."""
    words = [str(folder / "mended" / "model.ckpt") if word == "DST" else word for word in shlex.split(command)]
    assert words[0] == "ckptmigrate"
    return main(words[1:])


def renamed(arrays: Arrays, old: str, new: str) -> Arrays:
    return {name.replace(old, new): array for name, array in arrays.items()}


def messages(diagnosis: Diagnosis, kind: str) -> dict[str, str]:
    return {i.name: i.message for i in diagnosis.findings if i.kind == kind}


# By keys


def test_a_variable_that_is_missing(examined: Examined, healthy: Arrays) -> None:
    wanted = {**healthy, "net/extra/kernel": np.zeros((5, 7), np.float32)}
    found = examined(healthy, against=wanted)
    assert messages(found, "unrestored") == {
        "net/extra/kernel": "would not be restored: Saver.restore stops at the first such key ('not found in "
        "checkpoint')"
    }
    assert messages(found, "unused") == {}
    assert found.exit_code == 1


def test_a_variable_that_nobody_takes(examined: Examined, healthy: Arrays) -> None:
    more = {**healthy, "net/extra/kernel": np.zeros((5, 7), np.float32)}
    found = examined(more, against=healthy)
    assert [i.severity for i in found.findings if i.kind == "unused"] == ["warning"]
    assert list(messages(found, "unused")) == ["net/extra/kernel"]
    assert found.exit_code == 0


def test_another_scope(tmp_path: Path, examined: Examined, healthy: Arrays) -> None:
    """The mapping that is proposed brings everything, slots included."""
    found = examined(renamed(healthy, "net/", "tower/"), against=renamed(healthy, "net/", "model/"))
    (hint,) = {i.hint for i in found.findings if i.kind == "unrestored"}
    head, _, rules = hint.partition("\nwith m.yaml:\n")
    assert head.startswith("7 of 7: ckptmigrate convert ")
    (tmp_path / "m.yaml").write_text(re.sub("^  ", "", rules, flags=re.MULTILINE) + "\n")
    command = head.partition(": ")[2].replace("m.yaml", str(tmp_path / "m.yaml"))
    assert run(command, tmp_path) == 0
    again = diagnose(tmp_path / "mended" / "model.ckpt", against=tmp_path / "other" / "model.ckpt")
    assert [i.severity for i in again.findings] == ["note"]


def test_the_nearest_name(examined: Examined, healthy: Arrays) -> None:
    found = examined(
        renamed(healthy, "net/logits", "net/Logits/fc"), against=renamed(healthy, "net/conv/w", "net/convolution/w")
    )
    assert {"net/Logits/fc/weights -> net/logits/weights", "net/conv/weights -> net/convolution/weights"} <= set(
        messages(found, "near")
    )


def test_slots_that_stay_behind(examined: Examined, healthy: Arrays) -> None:
    """Adam under another name: the kinds are equal, and no slot is found."""
    other = {re.sub("/Adam", "/AdamOptimizer", name): array for name, array in healthy.items()}
    found = examined(healthy, against=other)
    assert list(messages(found, "unrestored").values()) == [
        "10 of the other's 10 slots would not be restored: Saver.restore stops at the first such key ('not found in "
        "checkpoint')"
    ]


# Shapes and types


def with_classes(healthy: Arrays, count: int) -> Arrays:
    heads = {"net/logits/weights": (4, count), "net/logits/biases": (count,)}
    made = {**healthy}
    for name, shape in heads.items():
        for key in (name, f"{name}/Adam", f"{name}/Adam_1"):
            made[key] = np.zeros(shape, np.float32)
    return made


def test_another_number_of_classes(tmp_path: Path, examined: Examined, healthy: Arrays) -> None:
    found = examined(healthy, against=with_classes(healthy, 11))
    assert set(messages(found, "shape")) == {"net/logits/weights", "net/logits/biases"}
    (head,) = [i for i in found.findings if i.kind == "head"]
    assert head.message.startswith(
        "2 variables differ in their last extent (91 -> 11), as heads of 91 and 11 classes do"
    )
    assert run(head.hint, tmp_path) == 0
    with ckptmigrate.open(tmp_path / "mended" / "model.ckpt") as mended:
        kept = mended.variables["net/conv/weights"].tensor.read()
        assert mended.variables["net/logits/biases"].tensor.read().shape == (11,)
    assert np.array_equal(kept, healthy["net/conv/weights"])


def test_other_shapes_that_are_no_heads(examined: Examined, healthy: Arrays) -> None:
    other = {**healthy, "net/conv/weights": np.zeros((5, 5, 2, 4), np.float32)}
    found = examined(healthy, against={n: a for n, a in other.items() if not n.startswith("net/conv/weights/")})
    assert messages(found, "head") == {}
    assert messages(found, "shape") == {
        "net/conv/weights": "is [3,3,2,4] here and [5,5,2,4] in the other: TensorFlow refuses to restore it"
    }


def test_another_width_is_no_head(examined: Examined, healthy: Arrays) -> None:
    wide = {name: np.concatenate([a, a], -1) if a.shape else a for name, a in healthy.items()}
    found = examined(healthy, against=wide)
    assert messages(found, "head") == {}
    assert len(messages(found, "shape")) == 7


def test_other_types(examined: Examined, healthy: Arrays) -> None:
    other = {**healthy, "net/conv/weights": healthy["net/conv/weights"].astype(np.float16)}
    assert messages(examined(healthy, against=other), "dtype") == {
        "net/conv/weights": "is float32 here and float16 in the other: TensorFlow refuses to restore it"
    }


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ({"fc/w": ((2048, 1001), (2048, 11)), "fc/b": ((1001,), (11,))}, [((1001, 11), 2)]),
        ({"fc/w": ((2048, 90), (2048, 10)), "fc/b": ((90,), (10,))}, [((90, 10), 2)]),
        (
            {
                f"BoxPredictor_{i}/ClassPredictor/w": ((1, 1, 8, n * 91), (1, 1, 8, n * 12))
                for i, n in enumerate([3, 6])
            },
            [((91, 12), 2)],
        ),
        (
            {
                "SecondStageBoxPredictor/ClassPredictor/b": ((91,), (12,)),
                "SecondStageBoxPredictor/BoxEncodingPredictor/b": ((360,), (44,)),
            },
            [((91, 12), 1), ((90, 11), 1)],
        ),
        ({"conv/w": ((3, 3, 2, 4), (5, 5, 2, 4))}, []),
        ({"dense/w": ((512, 10), (1024, 10))}, []),  # inputs of another size
        ({"x": ((), ()), "y": ((0,), (3,))}, []),
        ({"w": ((3,), (3, 1))}, []),
    ],
)
def test_heads(
    shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]], expected: list[tuple[tuple[int, int], int]]
) -> None:
    assert [(head.classes, len(head.names)) for head in heads(shapes)] == expected


def test_patterns_fit_what_they_are_for_and_nothing_else() -> None:
    names = [f"Box_{i}/Class_{j}/w" for i in range(3) for j in range(2)]
    assert list(patterns(names, ["Box_0/Loc/w"])) == ["Box_{a:int}/Class_{b:int}/w"]
    assert list(patterns(names, ["Box_7/Class_0/w"])) == names
    assert list(patterns(["a{0}/w"], [])) == ["a{{0}}/w"]


# By object paths


def test_a_model_that_is_the_root_there(tmp_path: Path) -> None:
    found = diagnose(FIXTURES / "tf2" / "keras_adam" / "ckpt-1", against=FIXTURES / "tf2" / "keras_weights")
    hint = next(i.hint for i in found.findings if i.kind == "unrestored")
    first, second = hint.splitlines()
    assert first.startswith("7 of 7: tf.train.Checkpoint(model=OBJECT).restore(")
    assert first.endswith("OBJECT being the root there")
    assert run(second.partition(": ")[2], tmp_path) == 0


def test_the_same_model(tmp_path: Path) -> None:
    own = FIXTURES / "tf2" / "keras_adam" / "ckpt-1"
    found = diagnose(own, against=own)
    assert [(i.kind, i.severity, i.message) for i in found.findings] == [
        ("restoring", "note", "8 of the other's 8 variables would be restored, found by object paths")
    ]


def test_another_optimizer(tmp_path: Path) -> None:
    found = diagnose(FIXTURES / "tf2" / "keras_adam" / "ckpt-1", against=FIXTURES / "tf2" / "keras_rmsprop")
    (issue,) = [i for i in found.findings if i.kind == "optimizer"]
    assert issue.message.startswith("the state is that of adam (keras-legacy); rmsprop (keras-legacy) of the other")
    assert issue.hint.endswith("--optimizer fresh")


def test_no_optimizer_where_one_is_wanted() -> None:
    found = diagnose(FIXTURES / "tf2" / "weights_only", against=FIXTURES / "tf2" / "keras_adam")
    (issue,) = [i for i in found.findings if i.kind == "optimizer"]
    assert issue.severity == "error"
    assert issue.message.startswith("there is no optimizer state, and adam (keras-legacy) expects some")


def test_a_tf1_detection_checkpoint_and_its_tf2_model(tmp_path: Path) -> None:
    """The mapping of the library is found, and the command brings every variable."""
    source, target = FIXTURES / "od" / "ssd_mobilenet_v2_tf1" / "model.ckpt", FIXTURES / "od" / "ssd_mobilenet_v2_tf2"
    found = diagnose(source, against=target)
    hint = next(i.hint for i in found.findings if i.kind == "unrestored")
    assert hint.startswith("324 of 324: ckptmigrate convert ")
    assert "--mapping od/ssd_mobilenet_v2" in hint
    assert run(hint.partition(": ")[2] + " --optimizer drop --averages use", tmp_path) == 0


@pytest.mark.parametrize(
    ("source", "target", "kinds"),
    [
        ("tf1/adam", "tf1/rmsprop", {"optimizer"}),
        ("tf2/keras_adam", "tf2/keras_rmsprop", {"optimizer"}),
        ("tf2/keras_adam", "tf2/keras2_adam", {"optimizer"}),
        ("tf2/keras_adam", "tf2/keras3_adam", {"optimizer", "unrestored"}),
        ("tf2/keras_adam", "keras-v3/keras3_adam/m.keras", {"optimizer", "format"}),
        ("keras-v3/keras3_rmsprop/m.keras", "keras-v3/keras3_adam/m.keras", {"optimizer"}),
        ("keras-h5/k22_adam/model.h5", "keras-h5/k22_sgd/model.h5", {"optimizer"}),
    ],
)
def test_what_is_proposed_brings_everything(source: str, target: str, kinds: set[str], tmp_path: Path) -> None:
    """Commands are typed one after another, as somebody would, until none is proposed."""
    own, other = FIXTURES / source, FIXTURES / target
    errors = [i for i in diagnose(own, against=other).findings if i.severity == "error"]
    assert {i.kind for i in errors} == kinds
    for number in range(2):
        if not errors:
            break
        mended = tmp_path / str(number) / (other.name if other.suffix else "ckpt")
        command = re.findall(r"ckptmigrate (convert .*)", errors[0].hint)[0]
        assert main([str(mended) if word == "DST" else word for word in shlex.split(command)]) == 0
        own = mended
        errors = [i for i in diagnose(own, against=other).findings if i.severity == "error"]
    assert errors == []


def test_files_of_another_kind() -> None:
    own = FIXTURES / "tf2" / "keras_adam" / "ckpt-1"
    found = diagnose(own, against=FIXTURES / "keras-v3" / "keras3_adam" / "m.keras")
    (issue,) = [i for i in found.findings if i.kind == "format"]
    assert issue.message == "this is tf2, the other keras-v3: Keras 3 says 'File format not supported' to it"
    assert "--to keras-v3 --template" in issue.hint


def test_a_setting_that_makes_more_slots() -> None:
    found = diagnose(FIXTURES / "keras-h5" / "tfk_amsgrad", against=FIXTURES / "keras-v3" / "keras2_adam" / "m.keras")
    assert [i.kind for i in found.findings if i.severity == "error"] == ["optimizer"]  # AdamW is another
    one, other = keras3("ab", "mine"), keras3("a", "theirs")
    more = replace(one.optimizers[0], order=(*one.optimizers[0].order, SlotKey("a", "vhat")))
    case = Case("mine", replace(one, optimizers=(more,)), other, "theirs")
    (issue,) = [i for i in examine_restoring(case) if i.kind == "slot"]
    assert issue.message.endswith("; only one of them has vhat, which a setting makes")


def keras3(order: Sequence[str], name: str) -> Checkpoint:
    """A Keras 3 file of two variables, and an optimizer that lists their slots in an order."""
    variables = {v: Variable(v, Tensor.of(np.zeros(3, np.float32), FLOAT32), f"{v}/vars/0") for v in "ab"}
    listed = tuple(SlotKey(v, "momentum") for v in order)
    slots = {
        key: Stored(f"optimizer/vars/{n}", Tensor.of(np.ones(3, np.float32), FLOAT32)) for n, key in enumerate(listed)
    }
    state = OptimizerState("optimizer", "momentum", "keras3", slots=slots, order=listed)
    return Checkpoint(Path(name), "keras-v3", variables, (state,))


@pytest.mark.parametrize(
    ("mine", "theirs", "message"),
    [
        ("ab", "ab", ""),
        ("ba", "ab", "2 of 2 slots would become another variable's, for lists are restored by number alone: first, "),
        ("a", "ab", "it lists 1 slots, and optimizer of the other 2: Keras 3 says 'Skipping variable loading'"),
    ],
)
def test_lists(mine: str, theirs: str, message: str) -> None:
    case = Case("mine", keras3(mine, "mine"), keras3(theirs, "theirs"), "theirs")
    found = [i for i in examine_restoring(case) if i.kind == "slot"]
    assert [(i.severity, i.message[: len(message)]) for i in found] == [("error", message)] * bool(message)


def graph(*edges: tuple[int, str, int], values: str = "", slots: tuple[SlotReference, ...] = ()) -> ObjectGraph:
    """A graph of edges; nodes named in `values` hold a variable stored under their number."""
    count = 1 + max(max(a, b) for a, _, b in edges)
    held = {int(number) for number in values.split()}
    return ObjectGraph(
        tuple(
            Node(
                tuple(Edge(name, b) for a, name, b in edges if a == n),
                (Attribute("VARIABLE_VALUE", "", f"{n}{VALUE_SUFFIX}"),) if n in held else (),
                slots if n == 1 and slots else (),
            )
            for n in range(count)
        )
    )


def key(number: int) -> str:
    return f"{number}{VALUE_SUFFIX}"


def test_objects_are_the_same_by_edges() -> None:
    near = graph((0, "opt", 1), (0, "a", 2), (2, "w", 3), (0, "b", 4), values="3 4")
    far = graph((0, "a", 1), (1, "w", 2), (0, "b", 3), (0, "c", 4), values="2 3 4")
    assert match_objects(near, far) == {key(2): key(3), key(3): key(4)}


def test_slots_follow_optimizer_and_variable() -> None:
    near = graph((0, "opt", 1), (0, "w", 2), (0, "x", 3), values="2 3 4 5", slots=(SlotReference(2, "m", 4),))
    near = ObjectGraph((*near.nodes, *(Node((), (Attribute("VARIABLE_VALUE", "", key(n)),)) for n in (4, 5))))
    far = graph((0, "opt", 1), (0, "w", 2), values="2", slots=(SlotReference(2, "m", 3), SlotReference(2, "v", 4)))
    far = ObjectGraph((*far.nodes, *(Node((), (Attribute("VARIABLE_VALUE", "", key(n)),)) for n in (3, 4))))
    assert match_objects(near, far) == {key(2): key(2), key(3): key(4)}


def test_where_the_roots_are_not_the_same() -> None:
    near, far = graph((0, "net", 1), (1, "w", 2), values="2"), graph((0, "model", 1), (1, "w", 2), values="2")
    found = offset(near, far)
    assert found is not None
    assert (found.here, found.there, found.keys) == ("net", "model", {key(2): key(2)})
    assert offset(near, near) is None


def test_moved_scope() -> None:
    assert moved_scope({"a/w": "net/a/w", "b/w": "net/b/w"}) == ("", "net/")
    assert moved_scope({"x/a/w": "net/a/w", "y/b/w": "net/b/w"}) is None
    assert moved_scope({"a/w": "b/v"}) is None
    assert moved_scope({}) is None
