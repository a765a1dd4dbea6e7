"""The document of a checkpoint: every hard case comes back the same, and nothing that is wrong is believed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ckptmigrate.document import decode, dump, encode, encode_template, load_template
from ckptmigrate.dtypes import BY_NAME, FLOAT32, INT64, STRING, DType
from ckptmigrate.errors import DamagedError, SourceError
from ckptmigrate.objects import Attribute, Edge, Node, ObjectGraph, SlotReference
from ckptmigrate.table import Checkpoint, Layer, OptimizerState, SlotKey, Stored, Structure, Tensor, Variable

PATH = Path("model.npz")


def tensor(*shape: int, dtype: DType = FLOAT32) -> Tensor:
    return Tensor(shape, dtype)


def variables(*items: Variable) -> dict[str, Variable]:
    return {v.name: v for v in items}


def checkpoint(*items: Variable, **rest: Any) -> Checkpoint:
    return Checkpoint(PATH, "npz", variables(*items), **rest)


W = Variable("w", tensor(2, 3), "w")
ADAM = OptimizerState(
    "gen_opt",
    "adam",
    "tf1",
    step=3,
    hyper={"beta_1": 0.9, "learning_rate": 0.1},
    scalars={"beta1_power": Stored("beta1_power", tensor())},
    slots={SlotKey("w", "m"): Stored("w/Adam", tensor(2, 3)), SlotKey("w", "v"): Stored("w/Adam_1", tensor(2, 3))},
)

CASES: dict[str, Checkpoint] = {
    "nothing": checkpoint(),
    "order is kept": checkpoint(W, Variable("b", tensor(3), "b"), Variable("a", tensor(), "a")),
    "all fields of a variable": checkpoint(
        Variable("n", tensor(3), "n/.ATTRIBUTES/VARIABLE_VALUE", "bn_mean", False, {"full_name": ("x", "y")}, ("k",))
    ),
    "doubled weights": checkpoint(replace(W, copies=("_trainable_variables/0", "_all_variables/0"))),
    "two optimizers": checkpoint(
        W, optimizers=(ADAM, replace(ADAM, name="disc_opt", scalars={}, slots={}, step=None, hyper={}))
    ),
    "list-indexed unbound state": checkpoint(
        W,
        optimizers=(
            OptimizerState(
                "optimizer",
                "adam",
                "keras2",
                order=(SlotKey("w", "m"), SlotKey("w", "v")),
                unbound=(Stored("optimizer/_variables/1", tensor(9)), Stored("optimizer/_variables/2", tensor(9))),
            ),
        ),
    ),
    "factored slots": checkpoint(
        W,
        optimizers=(
            OptimizerState(
                "adafactor",
                "adafactor",
                "keras3",
                slots={SlotKey("w", "r"): Stored("r", tensor(2)), SlotKey("w", "c"): Stored("c", tensor(3))},
            ),
        ),
    ),
    "averages of an optimizer": checkpoint(
        W,
        optimizers=(
            ADAM,
            OptimizerState(
                "ema",
                "ema",
                "tf1",
                slots={SlotKey("w", "average"): Stored("w/ExponentialMovingAverage", tensor(2, 3))},
                parent="gen_opt",
            ),
        ),
    ),
    "loss scale around an optimizer": checkpoint(
        W,
        optimizers=(
            OptimizerState(
                "scaled",
                "unknown",
                "keras2",
                scalars={"current_loss_scale": Stored("scaled/current_loss_scale", tensor())},
                wraps=replace(ADAM, wraps=OptimizerState("inner", "sgd", "keras2")),
            ),
        ),
    ),
    "hyperparameters that JSON has no numbers for": checkpoint(
        W, optimizers=(replace(ADAM, hyper={"clipnorm": float("inf"), "decay": 1e-320, "one": 1.0}),)
    ),
    "strings and tables": checkpoint(
        Variable("table-keys", tensor(4, dtype=STRING), "table/.ATTRIBUTES/table-keys", "table"),
        Variable("table-values", tensor(4, dtype=INT64), "table/.ATTRIBUTES/table-values", "table"),
    ),
    "variants and odd types": checkpoint(
        Variable("it", tensor(dtype=BY_NAME["variant"]), "it", "iterator"),
        Variable("q", tensor(2, dtype=BY_NAME["qint32"]), "q"),
        Variable("z", tensor(2, dtype=BY_NAME["complex128"]), "z"),
        Variable("i4", tensor(2, dtype=BY_NAME["int4"]), "i4"),
        Variable("bf", tensor(2, dtype=BY_NAME["bfloat16"]), "bf"),
    ),
    "names that are no UTF-8": checkpoint(Variable("a\udc80\n\0é☃", tensor(1), "a\udc80\n\0é☃")),
    "structure": checkpoint(
        W,
        structure=Structure(
            ObjectGraph(
                (
                    Node((Edge("w", 1), Edge("self/x.y", 0)), slots=(SlotReference(1, "m", 2),)),
                    Node((), (Attribute("VARIABLE_VALUE", "w", "w/.ATTRIBUTES/VARIABLE_VALUE"),), has_values=True),
                    Node(saver=("name", "object"), has_values=False),
                )
            ),
            (Layer("dense", "Dense", (("kernel", "w"), ("bias", ""))), Layer("pool", "MaxPooling2D")),
            {"config": b"\0\xff{}", "empty": b""},
        ),
        metadata={"keras_version": "2.4", "nested": {"a": [1, None, True, 0.5]}},
    ),
    "empty structure": checkpoint(structure=Structure(ObjectGraph(()), ())),
}


def bare(member: str, dtype: DType, shape: tuple[int, ...]) -> Tensor:
    return Tensor(shape, dtype)


def read(document: bytes | str | dict[str, Any]) -> Checkpoint:
    data = json.dumps(document) if isinstance(document, dict) else document
    return decode(data, bare, where="f", path=PATH, format="npz")


def written(case: Checkpoint) -> bytes:
    return dump(encode(case, [row.key for row in case.rows()]))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_comes_back_the_same(case: Checkpoint) -> None:
    back = read(written(case))
    assert back == case
    assert list(back.variables) == list(case.variables)
    assert written(back) == written(case)


def test_members_stand_in_the_order_of_rows() -> None:
    case = CASES["loss scale around an optimizer"]
    members = [f"m{i}" for i, _ in enumerate(case.rows())]
    asked: list[str] = []

    def note(member: str, dtype: DType, shape: tuple[int, ...]) -> Tensor:
        asked.append(member)
        return Tensor(shape, dtype)

    back = decode(dump(encode(case, members)), note, where="f", path=PATH, format="npz")
    assert sorted(asked) == sorted(members)
    assert back == case  # keys differ from members, and are kept


def test_an_empty_key_is_read_as_the_member() -> None:
    case = checkpoint(replace(W, key=""))
    assert read(dump(encode(case, ["w"]))).variables["w"].key == "w"


def test_bytes_do_not_follow_the_order_of_maps() -> None:
    one = replace(ADAM, hyper={"a": 1.0, "b": 2.0})
    other = replace(ADAM, hyper={"b": 2.0, "a": 1.0})
    assert written(checkpoint(W, optimizers=(one,))) == written(checkpoint(W, optimizers=(other,)))


def test_where_it_was_opened_is_no_part_of_it() -> None:
    assert written(checkpoint(W, metadata={"used": "/home/me/model.npz", "a": 1})) == written(
        checkpoint(W, metadata={"a": 1})
    )


def test_literal() -> None:
    """The bytes themselves: others read them."""
    assert written(checkpoint(replace(W, trainable=True), optimizers=(ADAM,))) == (
        b'{"ckptmigrate":1,"variables":[{"name":"w","member":"w","dtype":"float32","shape":[2,3],"trainable":true}],'
        b'"optimizers":[{"name":"gen_opt","kind":"adam","dialect":"tf1","step":3,'
        b'"hyper":{"beta_1":0.9,"learning_rate":0.1},'
        b'"scalars":[{"name":"beta1_power","member":"beta1_power","dtype":"float32","shape":[]}],'
        b'"slots":[{"variable":"w","slot":"m","member":"w/Adam","dtype":"float32","shape":[2,3]},'
        b'{"variable":"w","slot":"v","member":"w/Adam_1","dtype":"float32","shape":[2,3]}]}]}'
    )


def test_template(tmp_path: Path) -> None:
    path = tmp_path / "template.json"
    path.write_bytes(dump(encode_template(CASES["structure"]), indent=1))
    template = load_template(path)
    assert template.variables["w"].tensor.is_open
    assert template.structure == CASES["structure"].structure
    assert template.format == "template"
    with pytest.raises(LookupError):
        template.variables["w"].tensor.read()


def test_no_template(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="can't be read"):
        load_template(tmp_path / "absent.json")


def variable(**fields: Any) -> dict[str, Any]:
    return {"name": "w", "member": "w", "dtype": "float32", "shape": [2], **fields}


def optimizer(**fields: Any) -> dict[str, Any]:
    return {"name": "o", "kind": "adam", "dialect": "tf1", **fields}


def nested(depth: int) -> dict[str, Any]:
    return optimizer(wraps=nested(depth - 1)) if depth else optimizer()


WRONG: dict[str, tuple[Any, str]] = {
    "not JSON": ("{", "not valid JSON"),
    "not UTF-8": (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
    "a list": ("[]", "an object expected"),
    "a key twice": ('{"ckptmigrate": 1, "ckptmigrate": 1}', "stands twice"),
    "NaN": ('{"ckptmigrate": NaN}', "NaN is no JSON number"),
    "a number out of range": ('{"ckptmigrate": 1, "metadata": {"a": 1e999}}', "out of range"),
    "thousands of digits": ('{"ckptmigrate": ' + "1" * 5000 + "}", "not valid JSON"),
    "deep JSON": ('{"ckptmigrate": 1, "metadata": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deep"),
    "deep metadata": ('{"ckptmigrate": 1, "metadata": {"a":' + "[" * 99 + "]" * 99 + "}}", "at most 64 levels"),
    "metadata that is a list": ({"metadata": [1]}, r"\$\.metadata: an object"),
    "no version": ({"ckptmigrate": None}, "the document's version"),
    "version true": ({"ckptmigrate": True}, "the document's version"),
    "an unknown field": ({"more": 1}, "no other field"),
    "variables in an object": ({"variables": {}}, r"\$\.variables: a list"),
    "a variable twice": ({"variables": [variable(), variable()]}, "each name once"),
    "a name that is a number": ({"variables": [variable(name=3)]}, r"\$\.variables\[0\]\.name: a text"),
    "no member": ({"variables": [variable(member=None)]}, r"member: a text expected"),
    "no dtype": ({"variables": [{"name": "w", "member": "w", "shape": []}]}, "dtype: a text"),
    "an unknown dtype": ({"variables": [variable(dtype="float23")]}, "an element type expected, 'float23'"),
    "no shape": ({"variables": [{"name": "w", "member": "w", "dtype": "int8"}]}, "a list of sizes"),
    "a negative size": ({"variables": [variable(shape=[-1])]}, "sizes from 0"),
    "a size that is true": ({"variables": [variable(shape=[True])]}, "sizes from 0"),
    "a rank of 300": ({"variables": [variable(shape=[1] * 300)]}, "at most 32 dimensions"),
    "a product past 64 bits": ({"variables": [variable(shape=[1 << 40, 1 << 40])]}, "fits into memory"),
    "the same behind a zero": ({"variables": [variable(shape=[0, 1 << 40, 1 << 40])]}, "fits into memory"),
    "an unknown role": ({"variables": [variable(role="king")]}, "one of weight"),
    "trainable 1": ({"variables": [variable(trainable=1)]}, "true or false"),
    "aliases in a list": ({"variables": [variable(aliases=[])]}, "an object"),
    "aliases that are no list": ({"variables": [variable(aliases={"a": "b"})]}, "a list"),
    "copies that are numbers": ({"variables": [variable(copies=[1])]}, "a list of texts"),
    "an unknown dialect": ({"optimizers": [optimizer(dialect="klingon")]}, "one of keras1"),
    "a step of 65 bits": ({"optimizers": [optimizer(step=1 << 64)]}, "64 bits"),
    "a step with a fraction": ({"optimizers": [optimizer(step=1.5)]}, "an integer"),
    "hyper as text": ({"optimizers": [optimizer(hyper={"a": "0.1"})]}, "a number"),
    "an order of triples": ({"optimizers": [optimizer(order=[["a", "b", "c"]])]}, "a list of 2"),
    "ten wrappers": ({"optimizers": [nested(10)]}, "at most 8 optimizers"),
    "a child that isn't there": ({"objects": [{"children": [["a", 1]]}]}, "node numbers below 1"),
    "a slot of node -1": ({"objects": [{"slots": [[-1, "m", 0]]}]}, "node numbers below 1"),
    "an attribute too few": ({"objects": [{"attributes": [["a", "b"]]}]}, "a list of 3"),
    "a layer without class": ({"layout": [{"name": "a"}]}, "class_name: a text"),
    "a blob that isn't base64": ({"blobs": {"a": "%%"}}, "not base64"),
}


@pytest.mark.parametrize(("document", "message"), WRONG.values(), ids=WRONG.keys())
def test_wrong(document: Any, message: str) -> None:
    if isinstance(document, dict):
        document = {"ckptmigrate": 1, **document}
    with pytest.raises(DamagedError, match=message) as caught:
        read(document)
    assert caught.value.where == "f"


def test_a_slot_twice() -> None:
    slot = {"variable": "w", "slot": "m", "member": "m", "dtype": "int8", "shape": []}
    with pytest.raises(DamagedError, match="each once"):
        read({"ckptmigrate": 1, "optimizers": [optimizer(slots=[slot, slot])]})


def test_a_later_version() -> None:
    with pytest.raises(SourceError, match="later ckptmigrate") as caught:
        read({"ckptmigrate": 2, "anything": 1})
    assert caught.value.hint


def test_size_limit() -> None:
    with pytest.raises(DamagedError, match="at most 100000000"):
        read(" " * 100_000_001)


@pytest.mark.parametrize("spoil", [lambda v: None, lambda v: [], lambda v: 7, lambda v: "x", lambda v: {"a": 1}])
def test_every_field_may_be_anything(spoil: Callable[[Any], Any]) -> None:
    """Whatever stands in a field's place, the answer is a checkpoint or our error."""
    whole = json.loads(written(CASES["structure"])) | json.loads(written(CASES["averages of an optimizer"]))
    for path in paths(whole):
        broken = json.loads(json.dumps(whole))
        at = broken
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = spoil(at[path[-1]])
        with contextlib.suppress(DamagedError, SourceError):
            read(broken)


def paths(value: Any) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, child in items for path in [(key,), *((key, *rest) for rest in paths(child))]]
