"""The child's side of translating a configuration: `python -m ckptmigrate.framework.configuring REQUEST.json`.

REQUEST is {"config", "training", "is_new", "to": keras3 | tf_keras, "answer"}: texts of JSON, "" for no training
configuration; whether Keras 3 told it.
Answered is {"config", "version"}, the text of a `config.json` and the Keras that made it; "uncompiled", why, where the
training configuration stays behind; or {"failed"}. Keras builds the model from what is in the file, so that is looked
at first: classes of Keras alone, no functions, no modules of others. Nothing in it is run.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ckptmigrate.framework.process import answer, asked

# Modules that a configuration of Keras' own objects names
_MODULES = frozenset(
    {"builtins", "keras", "keras.src.models.functional"}
    | {f"{k}.src.engine.{part}" for k in ("keras", "tf_keras") for part in ("functional", "sequential", "training")}
    | {f"keras.{part}" for part in ("layers", "models", "initializers", "regularizers", "constraints", "activations")}
    | {f"keras.{part}" for part in ("optimizers", "losses", "metrics", "dtype_policies", "mixed_precision")}
)
# Where the classes of a model are looked for; nothing else is named in a configuration
_PARTS = ("layers", "models", "initializers", "regularizers", "constraints", "dtype_policies", "mixed_precision")
_VALUES = frozenset({"__tuple__", "__keras_tensor__"})  # plain data
_RUN = frozenset({"Lambda", "__lambda__", "function"})  # would run code of the file
_TOLD_BEFORE = ("module", "registered_name", "build_config", "compile_config")


class RefusedError(Exception):
    """The configuration holds what isn't Keras' own."""


def main() -> None:
    """Answers one request."""
    request = asked()
    answer(request, told(request))


def told(request: Mapping[str, Any]) -> dict[str, str]:
    """The answer to a request."""
    try:
        return translate(request["config"], request["training"], request["to"], is_new=request["is_new"])
    except RefusedError as error:
        return {"failed": _first_line(error)}
    except Exception as error:  # noqa: BLE001 - whatever Keras raises is its verdict on the configuration
        return {"failed": f"{type(error).__name__}: {_first_line(error)}"}


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "")[:500]


def translate(config: str, training: str, to: str, *, is_new: bool) -> dict[str, str]:
    """Builds the model, and gives the configuration that Keras tells of it."""
    old = json.loads(config)
    check(old)
    if to == "keras3":
        import keras
        from keras.src.legacy.saving.saving_utils import model_from_config

        model = model_from_config(old if is_new else renewed(old))
        k, serialize = keras, keras.saving.serialize_keras_object
    else:
        import tf_keras
        from tf_keras.src.saving.serialization_lib import serialize_keras_object

        k, model, serialize = tf_keras, tf_keras.models.model_from_config(old), serialize_keras_object
    uncompiled = ""
    if training:
        try:
            model.compile(**compilation(k, json.loads(training)))
        except Exception as error:  # noqa: BLE001 - losses of one's own, settings of other generations
            uncompiled = _first_line(error) or type(error).__name__
    return {"config": json.dumps(serialize(model)), "version": k.__version__, "uncompiled": uncompiled}


def compilation(k: Any, told: Mapping[str, Any]) -> dict[str, Any]:
    """Optimizer, loss and those metrics that have names, as a Keras takes them."""
    optimizer = told["optimizer_config"]
    made = getattr(k.optimizers, optimizer["class_name"].rpartition(">")[2])
    accepted = inspect.signature(made.__init__).parameters
    settings = {_RENAMED.get(key, key): value for key, value in optimizer["config"].items()}
    rate = settings.get("learning_rate")
    if isinstance(rate, dict):
        settings["learning_rate"] = k.optimizers.schedules.deserialize(rate)
    loss, metrics = told.get("loss"), told.get("metrics")
    return {
        "optimizer": made(**{key: value for key, value in settings.items() if key in accepted}),
        "loss": k.losses.deserialize(loss) if isinstance(loss, dict) and "class_name" in loss else loss,
        "metrics": [name for name in metrics or () if isinstance(name, str)] if isinstance(metrics, list) else None,
    }


_RENAMED = {"lr": "learning_rate"}


# From Keras 2 to Keras 3


def renewed(told: Any) -> Any:
    """A configuration of Keras 2 in the words that Keras 3 understands: nodes, axes, policies, what wrappers hold."""
    if isinstance(told, list):
        return [renewed(one) for one in told]
    if not isinstance(told, dict):
        return told
    found = {key: renewed(value) for key, value in told.items()}
    config = found.get("config")
    if found.get("class_name") in ("Policy", "DTypePolicy") and isinstance(config, dict):
        return config["name"]
    if isinstance(config, dict):
        if found["class_name"] == "BatchNormalization" and isinstance(config.get("axis"), list):
            config["axis"] = config["axis"][0]
        for key in _WRAPPED & config.keys():
            config[key] = _with_module(config[key])
        if isinstance(config.get("layers"), list):
            config["layers"] = [{k: v for k, v in one.items() if k not in _TOLD_BEFORE} for one in config["layers"]]
            if "input_layers" in config:
                _relink(config)
            else:
                config["layers"] = _started(config["layers"])
        found["config"] = _accepted(found["class_name"], config)
    elif found.get("class_name") == "Sequential" and isinstance(config, list):  # until Keras 2.2.3
        found["config"] = {"name": found.get("name"), "layers": _started(config)}
    return found


def _started(layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A Sequential's layers, with the InputLayer that its first one told of."""
    first = layers[0]["config"] if layers else {}
    shape = first.pop(_SHAPE, None) if layers and layers[0]["class_name"] != "InputLayer" else None
    start = {"batch_shape": shape, "dtype": first.get("dtype") or "float32", "name": f"{first.get('name')}_input"}
    return [{"class_name": "InputLayer", "config": start}, *layers] if shape else layers


_SHAPE = "batch_input_shape"
# Settings that classes of Keras 3 don't take any more, and the values with which they mean nothing; () for any
_IDLE: Mapping[str, tuple[Any, ...]] = {
    "implementation": (),
    "time_major": (False,),
    "groups": (1,),
    "ragged": (False,),
    "softmax_robust_masking": (False,),
    **dict.fromkeys(("kernel_initializer", "kernel_regularizer", "kernel_constraint"), ()),  # of separable kernels
    **dict.fromkeys(("input_length", "experimental_autocast", "query_shape", "key_shape", "value_shape"), ()),
}


def _accepted(class_name: str, config: dict[str, Any]) -> dict[str, Any]:
    """Settings less the idle ones that the class of Keras 3 doesn't take."""
    import keras

    made = getattr(keras.layers, class_name, None)
    taken = inspect.signature(made.__init__).parameters if inspect.isclass(made) else {}
    idle = {k for k, v in config.items() if k in _IDLE and k not in taken and (not _IDLE[k] or v in _IDLE[k])}
    return {k: v for k, v in config.items() if k not in (idle if taken else ())}


_WRAPPED = frozenset({"layer", "cell", "cells", "forward_layer", "backward_layer"})


def _with_module(held: Any) -> Any:
    if isinstance(held, list):
        return [_with_module(one) for one in held]
    return {"registered_name": None, **held, "module": "keras.layers"} if isinstance(held, dict) else held


def _relink(config: dict[str, Any]) -> None:
    """Calls of layers as Keras 3 tells them; it doesn't count a model's own making as a call of it."""
    names = {layer["name"] for layer in config["layers"]}
    ends = [*_listed(config["input_layers"]), *_listed(config["output_layers"])]
    calls = [place for layer in config["layers"] for node in layer["inbound_nodes"] for place in _places(node, names)]
    first: dict[str, int] = {}
    for name, number, *_ in [*ends, *calls]:
        first[name] = min(number, first.get(name, number))

    def tensor(place: list[Any]) -> dict[str, Any]:
        history = [place[0], place[1] - first[place[0]], place[2]]
        return {"class_name": "__keras_tensor__", "config": {"shape": [], "dtype": "float32", "keras_history": history}}

    def argument(value: Any) -> Any:
        return tensor(value) if _is_place(value, names) else value

    for layer in config["layers"]:
        nodes = []
        for node in layer["inbound_nodes"]:
            if isinstance(node, dict):  # as Keras 3 has it already
                nodes.append(node)
                continue
            tensors = [tensor(place) for place in node]
            kwargs = {k: argument(v) for k, v in (node[-1][3] if len(node[-1]) > _PLACE else {}).items()}
            nodes.append({"args": tensors if len(tensors) == 1 else [tensors], "kwargs": kwargs})
        layer["inbound_nodes"] = nodes
    for key in ("input_layers", "output_layers"):
        config[key] = [[name, number - first[name], at] for name, number, at in _listed(config[key])]


_PLACE = 3  # a tensor's place: layer, number of the call, number of the output


def _listed(places: Any) -> list[Any]:
    """Places of inputs or outputs; one alone may stand by itself."""
    return [places] if places and isinstance(places[0], str) else list(places)


def _is_place(value: Any, names: Collection[str]) -> bool:
    return isinstance(value, list) and len(value) >= _PLACE and value[0] in names and isinstance(value[1], int)


def _places(node: Any, names: Collection[str]) -> Iterator[list[Any]]:
    for place in node if isinstance(node, list) else ():
        if not _is_place(place, names):
            raise RefusedError(f"a layer is called on what is no layer's output: {place}")
        yield place
        yield from (value for value in (place[3] if len(place) > _PLACE else {}).values() if _is_place(value, names))


# What may be built


def check(told: Any) -> None:
    """Raises RefusedError unless everything in a configuration is Keras' own and plain."""
    for one in _objects(told):
        name, module = one["class_name"], one.get("module")
        if not isinstance(name, str):
            raise RefusedError(f"its class {name!r} isn't Keras' own")
        if name in _RUN:
            raise RefusedError(f"it holds a {name} layer or function, whose code isn't run")
        if module is not None and module not in _MODULES:
            raise RefusedError(f"its class {name} is of {module}, which isn't imported")
        if (one.get("registered_name") or name) != name or ">" in name:
            raise RefusedError(f"its class {one.get('registered_name') or name} isn't Keras' own")
        if not (name in _VALUES or _is_known(name)):
            raise RefusedError(f"its class {name} isn't Keras' own")


def _objects(told: Any) -> Iterator[dict[str, Any]]:
    if isinstance(told, dict):
        if "class_name" in told:
            yield told
        for value in told.values():
            yield from _objects(value)
    elif isinstance(told, list):
        for value in told:
            yield from _objects(value)


def _is_known(name: str) -> bool:
    import keras
    import tf_keras

    names = {"Functional", "Policy", "DTypePolicy"}
    return name in names or any(
        inspect.isclass(getattr(getattr(k, part, None), name, None)) for k in (keras, tf_keras) for part in _PARTS
    )


if __name__ == "__main__":
    main()
