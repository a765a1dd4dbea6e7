"""A Keras model's configuration as plain data: its layers in order, whichever Keras wrote it. Nothing in it is run.

Keras 1 and 2 up to 2.2.2 give a Sequential's layers as a bare list, later ones under `layers`; wrappers hold a layer
under `layer`, recurrent layers a cell under `cell`, stacked cells a list under `cells`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ckptmigrate.errors import DamagedError

MAX_CONFIG_BYTES = 64 << 20  # the largest models have a few MB
_MAX_DEPTH = 64  # of models in models; real ones have 4


@dataclass(frozen=True, slots=True)
class Configured:
    """A layer or model as its configuration describes it.

    Attributes:
        name: The layer's own name.
        class_name: Its class; empty for a class of the user's own, whatever it is called.
        config: Its settings, as stored.
        layers: A model's layers, in order.
        inner: The layers it wraps, by attribute (`layer`, `forward_layer`, `backward_layer`, `cell`, `cells/0`...).
        is_trainable: False when it is frozen itself.
        called: Its class as the file calls it, without its package, whoever's it is.
    """

    name: str
    class_name: str
    config: Mapping[str, Any] = field(default_factory=dict)
    layers: tuple[Configured, ...] = ()
    inner: Mapping[str, Configured] = field(default_factory=dict)
    is_trainable: bool = True
    called: str = ""

    def walk(self) -> Iterator[tuple[str, Configured]]:
        """Every layer of a model and of the models in it, with the path of names that leads there."""
        for layer in self.layers:
            yield layer.name, layer
            for path, below in layer.walk():
                yield f"{layer.name}/{path}", below


def read_config(data: str | bytes, where: str) -> Configured:
    """The model of a `model_config` attribute, or of a `config.json`.

    Raises:
        DamagedError: No JSON, or none that describes a layer.
    """
    if len(data) > MAX_CONFIG_BYTES:
        raise DamagedError(f"a configuration of {len(data)} bytes; at most {MAX_CONFIG_BYTES} are read", where=where)
    try:
        return _layer(json.loads(data), 0)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedError(f"not the configuration of a Keras model: {error or 'too deep'}", where=where) from error


def _layer(told: Any, depth: int) -> Configured:
    if not isinstance(told, dict) or not isinstance(told.get("class_name"), str):
        raise ValueError(f"a layer expected, found {str(told)[:80]!r}")
    if depth > _MAX_DEPTH:
        raise ValueError(f"models nested more than {_MAX_DEPTH} deep")
    config = told.get("config")
    listed = config if isinstance(config, list) else None
    settings: dict[str, Any] = config if isinstance(config, dict) else {}
    found = listed if listed is not None else settings.get("layers")
    layers = tuple(_layer(one, depth + 1) for one in found if _is_layer(one)) if isinstance(found, list) else ()
    name = settings.get("name") or told.get("name")
    return Configured(
        name if isinstance(name, str) else "",
        _class(told),
        settings,
        layers,
        _inner(told["class_name"], settings, depth),
        settings.get("trainable") is not False,
        told["class_name"].rpartition(">")[2],
    )


def _class(told: Mapping[str, Any]) -> str:
    """Keras 3 tells the module of a class, tf_keras writes a registered one as `package>Class`."""
    name, module = told["class_name"], told.get("module")
    own = isinstance(module, str) and module.partition(".")[0] not in ("keras", "keras_src", "tf_keras", "tensorflow")
    return "" if own or ">" in name else name


def _inner(class_name: str, settings: Mapping[str, Any], depth: int) -> dict[str, Configured]:
    held = {key: settings[key] for key in ("layer", "cell") if _is_layer(settings.get(key))}
    if isinstance(cells := settings.get("cells"), list):
        held |= {f"cells/{i}": cell for i, cell in enumerate(cells) if _is_layer(cell)}
    if class_name == "Bidirectional" and "layer" in held:
        forward = held.pop("layer")
        backward = settings.get("backward_layer")
        held |= {"forward_layer": forward, "backward_layer": backward if _is_layer(backward) else forward}
    return {name: _layer(told, depth + 1) for name, told in held.items()}


def _is_layer(told: Any) -> bool:
    return isinstance(told, dict) and isinstance(told.get("class_name"), str)
