"""The configuration of a Keras 1 model as Keras 2.2.4 would have written it; plain data, nothing in it is run.

Facts: `get_config` of Keras 1.0.8, 1.1.2 and 1.2.2, and what Keras 2.0 made of it (`keras/legacy/interfaces.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ckptmigrate.formats.keras_config import MAX_CONFIG_BYTES
from ckptmigrate.issues import Issue

MODEL_CONFIG = "model_config"

Config = dict[str, Any]


class _UntranslatableError(Exception):
    """Something that Keras 2 has no like of."""


@dataclass(frozen=True, slots=True)
class _Class:
    """What becomes of a class.

    Attributes:
        name: In Keras 2.
        settings: Setting -> what Keras 2 calls it.
        sizes: A setting of Keras 2 -> the ones of Keras 1 that it joins in a list.
        dropped: Settings without a counterpart that change neither weights nor predictions.
        fixed: Settings that Keras 1 hadn't.
        needed: Settings that Keras 2 can only follow where they have one of these values.
    """

    name: str
    settings: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    needed: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


_ANY = _same("name", "trainable")
_STARTING = ("batch_input_shape", "input_dtype")  # of a model's first layer: told by an InputLayer in front
_IMAGES = {"dim_ordering": "data_format"}
_WEIGHTS = {
    **_same("activation", "activity_regularizer"),
    "init": "kernel_initializer",
    "bias": "use_bias",
    "W_regularizer": "kernel_regularizer",
    "b_regularizer": "bias_regularizer",
    "W_constraint": "kernel_constraint",
    "b_constraint": "bias_constraint",
}
_INPUTS = ("input_dim", "input_length")  # batch_input_shape says the same
_DENSE = _Class("Dense", {**_WEIGHTS, "output_dim": "units"}, dropped=_INPUTS)
_CONV = {**_WEIGHTS, "nb_filter": "filters", "border_mode": "padding", "subsample": "strides", **_IMAGES}
_PADDING = {"padding": ("valid", "same")}  # Keras 2 knows no `full`
_CONV1D = _Class(
    "Conv1D",
    {**_CONV, "filter_length": "kernel_size", "subsample_length": "strides", "atrous_rate": "dilation_rate"},
    dropped=_INPUTS,
    needed={"padding": ("valid", "same", "causal")},
)
_ROWS = {"kernel_size": ("nb_row", "nb_col")}
_CONV2D = _Class("Conv2D", {**_CONV, "atrous_rate": "dilation_rate"}, _ROWS, needed=_PADDING)
_RNN = {
    **{k: v for k, v in _WEIGHTS.items() if k not in ("bias", "b_constraint", "W_constraint")},
    **_same("return_sequences", "go_backwards", "stateful", "unroll"),
    "inner_init": "recurrent_initializer",
    "inner_activation": "recurrent_activation",
    "consume_less": "implementation",
    "U_regularizer": "recurrent_regularizer",
    "dropout_W": "dropout",
    "dropout_U": "recurrent_dropout",
    "output_dim": "units",
    "forget_bias_init": "unit_forget_bias",
}
_RATE = {"p": "rate", **_IMAGES}
_POOL1D = _Class("", {"pool_length": "pool_size", "stride": "strides", "border_mode": "padding"}, needed=_PADDING)
_POOL = _Class("", {**_same("pool_size", "strides"), "border_mode": "padding", **_IMAGES}, needed=_PADDING)
_NORMALIZED = {
    **_same("axis", "momentum", "epsilon", "beta_regularizer", "gamma_regularizer"),
    "beta_init": "beta_initializer",
    "gamma_init": "gamma_initializer",
}


def _named(like: _Class, *names: str) -> dict[str, _Class]:
    return {name: _Class(name, like.settings, like.sizes, like.dropped, like.fixed, like.needed) for name in names}


def _plain(name: str, *settings: str) -> _Class:
    return _Class(name, _same(*settings))


_DIMS = ("1D", "2D", "3D")
_CLASSES: Mapping[str, _Class] = {
    "InputLayer": _Class("InputLayer", {**_same("sparse", "batch_input_shape"), "input_dtype": "dtype"}),
    "Dense": _DENSE,
    "TimeDistributedDense": _DENSE,
    **dict.fromkeys(("Convolution1D", "AtrousConvolution1D"), _CONV1D),
    **dict.fromkeys(("Convolution2D", "AtrousConvolution2D"), _CONV2D),
    "Deconvolution2D": _Class("Conv2DTranspose", _CONV, _ROWS, ("output_shape",), needed=_PADDING),
    "SeparableConvolution2D": _Class(
        "SeparableConv2D",
        {
            **_CONV,
            **_same("depth_multiplier"),
            **_same(
                *(f"{part}_{what}" for part in ("depthwise", "pointwise") for what in ("regularizer", "constraint"))
            ),
        },
        _ROWS,
        ("init", "depthwise_init", "pointwise_init"),
        needed=_PADDING,
    ),
    "Convolution3D": _Class(
        "Conv3D", _CONV, {"kernel_size": ("kernel_dim1", "kernel_dim2", "kernel_dim3")}, needed=_PADDING
    ),
    "LocallyConnected1D": _Class(
        "LocallyConnected1D", _CONV1D.settings, dropped=_INPUTS, needed={"padding": ("valid",)}
    ),
    "LocallyConnected2D": _Class("LocallyConnected2D", _CONV, _ROWS, needed={"padding": ("valid",)}),
    "ConvLSTM2D": _Class("ConvLSTM2D", {**_CONV, **_RNN}, _ROWS, (*_INPUTS, "output_dim"), needed=_PADDING),
    **_named(_Class("", _RNN, dropped=_INPUTS), "SimpleRNN", "LSTM"),
    "GRU": _Class("GRU", _RNN, dropped=_INPUTS, fixed={"reset_after": False}),
    "Embedding": _Class(
        "Embedding",
        {
            **_same("input_dim", "output_dim", "input_length", "mask_zero", "activity_regularizer"),
            "init": "embeddings_initializer",
            "W_regularizer": "embeddings_regularizer",
            "W_constraint": "embeddings_constraint",
        },
        dropped=("dropout",),
    ),
    "BatchNormalization": _Class("BatchNormalization", {**_NORMALIZED, "mode": "mode"}, needed={"mode": (0, 2)}),
    **{f"{kind}Pooling1D": next(iter(_named(_POOL1D, f"{kind}Pooling1D").values())) for kind in ("Max", "Average")},
    **_named(_POOL, *(f"{kind}Pooling{d}" for kind in ("Max", "Average") for d in _DIMS[1:])),
    **_named(_Class("", _IMAGES), *(f"Global{kind}Pooling{d}" for kind in ("Max", "Average") for d in _DIMS)),
    **_named(_Class("", {"padding": "padding", **_IMAGES}), *(f"ZeroPadding{d}" for d in _DIMS)),
    **_named(_Class("", {"cropping": "cropping", **_IMAGES}), *(f"Cropping{d}" for d in _DIMS)),
    "UpSampling1D": _Class("UpSampling1D", {"length": "size"}),
    **_named(_Class("", {"size": "size", **_IMAGES}), "UpSampling2D", "UpSampling3D"),
    **_named(_Class("", _RATE), "Dropout", "GaussianDropout", *(f"SpatialDropout{d}" for d in _DIMS)),
    "GaussianNoise": _Class("GaussianNoise", {"sigma": "stddev"}),
    "Flatten": _Class("Flatten", fixed={"data_format": "channels_last"}),  # rows in their order, whatever the model's
    "Activation": _plain("Activation", "activation"),
    "Reshape": _plain("Reshape", "target_shape"),
    "Permute": _plain("Permute", "dims"),
    "RepeatVector": _plain("RepeatVector", "n"),
    "Masking": _plain("Masking", "mask_value"),
    "LeakyReLU": _plain("LeakyReLU", "alpha"),
    "ELU": _plain("ELU", "alpha"),
    "ThresholdedReLU": _plain("ThresholdedReLU", "theta"),
    "PReLU": _Class("PReLU", {"init": "alpha_initializer", "shared_axes": "shared_axes"}),
    "ActivityRegularization": _plain("ActivityRegularization", "l1", "l2"),
    "TimeDistributed": _plain("TimeDistributed", "layer"),
    "Bidirectional": _plain("Bidirectional", "layer", "merge_mode"),
}
# How Merge joined its inputs -> the layer that does it now
_MERGED = {"sum": "Add", "mul": "Multiply", "ave": "Average", "max": "Maximum", "concat": "Concatenate"}
_ACTIVATIONS = frozenset(
    {"softmax", "softplus", "softsign", "relu", "tanh", "sigmoid", "hard_sigmoid", "linear", "elu", "selu"}
)
_INITIALIZERS = {"zero": "zeros", "one": "ones", "uniform": "random_uniform", "normal": "random_normal"}
_KNOWN_INITIALIZERS = frozenset(
    {"lecun_uniform", "lecun_normal", "glorot_normal", "glorot_uniform", "he_normal", "he_uniform", "orthogonal"}
    | {"identity", *_INITIALIZERS.values()}
)
_FORMATS = {"th": "channels_first", "tf": "channels_last"}
_IMPLEMENTATIONS = {"cpu": 0, "mem": 1, "gpu": 2}


def class_of(name: str) -> str:
    """What Keras 2 calls a class of Keras 1; the same name where that isn't known.

    >>> class_of("Deconvolution2D"), class_of("Mine")
    ('Conv2DTranspose', 'Mine')
    """
    return _CLASSES[name].name if name in _CLASSES else name


def translated(config: bytes | None) -> tuple[dict[str, bytes], tuple[Issue, ...]]:
    """The configuration's blob for Keras 2, none where it can't be; and what there is to say of it."""
    if config is None:
        return {}, ()
    try:
        if len(config) > MAX_CONFIG_BYTES:
            raise _UntranslatableError(f"{len(config)} bytes")
        told = json.loads(config)
        _order(told)
        model = _model(told)
    except (_UntranslatableError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        message = f"the model's configuration is Keras 1's and stays behind: {error or 'too deep'}"
        hint = "weights alone are written; --template with a file of the model, built anew, gives a configuration"
        return {}, (Issue("configuration", "warning", "", message, hint),)
    message = "the model's configuration is told as Keras 2 does"
    return {MODEL_CONFIG: json.dumps(model).encode()}, (Issue("configuration", "note", "", message),)


def _order(told: Config) -> None:
    """Tells the ordering where Keras 1 forgot to: padding, cropping and scaling of images go by that of the others."""
    layers = list(_all_layers(told))
    orders = {config["dim_ordering"] for _, config in layers if "dim_ordering" in config}
    lacking = [config for name, config in layers if _takes_order(name) and "dim_ordering" not in config]
    if lacking and len(orders) > 1:
        raise _UntranslatableError(f"the ordering of layer {lacking[0].get('name')!r} isn't told")
    for config in lacking if orders else ():
        config["dim_ordering"] = next(iter(orders))


def _takes_order(name: str) -> bool:
    return name in _CLASSES and "dim_ordering" in _CLASSES[name].settings and not name.endswith("1D")


def _all_layers(told: Config) -> Iterator[tuple[str, Config]]:
    """Class and settings of every layer, those in models and wrappers, too."""
    config = told["config"]
    held = [config["layer"]] if "layer" in config else []
    for layer in config if isinstance(config, list) else [*config.get("layers", ()), *held]:
        yield from _all_layers(layer)
    if isinstance(config, dict):
        yield told["class_name"], config


def _model(told: Config) -> Config:
    class_name, config = told["class_name"], told["config"]
    if class_name == "Sequential":
        return {"class_name": class_name, "config": _sequential(told)}
    if class_name not in ("Model", "Container"):
        raise _UntranslatableError(f"{class_name} is no model of Keras 1")
    layers = [
        {**_layer(layer), "name": layer["name"], "inbound_nodes": _nodes(layer["inbound_nodes"])}
        for layer in config["layers"]
    ]
    ends = {key: config[key] for key in ("input_layers", "output_layers")}
    return {"class_name": "Model", "config": {"name": config["name"], "layers": layers, **ends}}


def _sequential(told: Config) -> Config:
    """A list of layers; those of a Sequential in it stand in the file as its own."""
    layers = _flat(told["config"])
    first = layers[0]["config"]
    start = {"name": f"{first['name']}_input", **{key: first[key] for key in _STARTING if key in first}}
    if layers[0]["class_name"] != "InputLayer" and _STARTING[0] in first:
        layers = [{"class_name": "InputLayer", "config": start}, *layers]
    return {"name": told.get("name") or "sequential_1", "layers": [_layer(layer) for layer in layers]}


def _flat(layers: list[Config]) -> list[Config]:
    found: list[Config] = []
    for layer in layers:
        found += _flat(layer["config"]) if layer["class_name"] == "Sequential" else [layer]
    return found


def _nodes(nodes: list[Any]) -> list[Any]:
    return [[[*place[:3], {}] for place in node] for node in nodes]


def _layer(told: Config) -> Config:
    name, config = told["class_name"], told["config"]
    if name in ("Sequential", "Model", "Container"):
        return _model(told)
    if name == "Merge":
        return _merge(config)
    known = _CLASSES.get(name)
    if known is None:
        raise _UntranslatableError(f"layer {config.get('name')!r} is of class {name}")
    return {"class_name": known.name, "config": _settings(name, known, config)}


def _merge(config: Config) -> Config:
    mode = config["mode"]
    if config.get("mode_type", "raw") != "raw" or "layers" in config or mode not in _MERGED:
        raise _UntranslatableError(f"layer {config.get('name')!r} merges by {mode}")
    settings: Config = {key: config[key] for key in ("name", "trainable") if key in config}
    if mode == "concat":
        settings["axis"] = config["concat_axis"]
    return {"class_name": _MERGED[mode], "config": settings}


def _settings(name: str, known: _Class, config: Config) -> Config:
    names = {**_ANY, **known.settings}
    joined = {old for olds in known.sizes.values() for old in olds}
    strange = [key for key in config if key not in {*names, *joined, *known.dropped, *_STARTING}]
    if strange:
        raise _UntranslatableError(f"layer {config.get('name')!r} of class {name} has a setting {strange[0]}")
    found = {names[key]: _value(names[key], value) for key, value in config.items() if key in names}
    found |= {new: [config[old] for old in olds] for new, olds in known.sizes.items()}
    for key, values in known.needed.items():
        if found.get(key, values[0]) not in values:
            raise _UntranslatableError(f"layer {config.get('name')!r} of class {name} has {key} {found[key]}")
    if found.pop("mode", 0) == _PER_SAMPLE:
        raise _UntranslatableError(f"layer {config.get('name')!r} normalizes each sample by itself")
    return {**found, **known.fixed}


_PER_SAMPLE = 1


def _value(key: str, value: Any) -> Any:
    for ending, translate in _VALUES.items():
        if key.endswith(ending):
            return translate(value)
    return value


def _activation(value: Any) -> Any:
    if value is not None and value not in _ACTIVATIONS:
        raise _UntranslatableError(f"activation {value}")
    return value


def _initializer(value: Any) -> str:
    """By name; one that isn't known is replaced: weights come from the file."""
    name = _INITIALIZERS.get(value, value)
    return name if name in _KNOWN_INITIALIZERS else "glorot_uniform"


def _regularizer(value: Any) -> Config | None:
    if not isinstance(value, dict) or not ("l1" in value or "l2" in value):
        return None
    return {"class_name": "L1L2", "config": {key: float(value.get(key) or 0) for key in ("l1", "l2")}}


def _constraint(value: Any) -> Config | None:
    name = str(value.get("name", "")).lower() if isinstance(value, dict) else ""
    if name == "maxnorm":
        return {"class_name": "MaxNorm", "config": {"max_value": value["m"], "axis": value.get("axis", 0)}}
    return {"class_name": "NonNeg", "config": {}} if name == "nonneg" else None


def _padding(value: Any) -> Any:
    if isinstance(value, dict):
        raise _UntranslatableError(f"padding by names: {value}")
    return [list(value[:2]), list(value[2:])] if isinstance(value, list) and len(value) == _SIDES else value


_SIDES = 4  # top, bottom, left, right


# End of a setting's name -> what becomes of its value
_VALUES: Mapping[str, Callable[[Any], Any]] = {
    "activation": _activation,
    "_initializer": _initializer,
    "_regularizer": _regularizer,
    "_constraint": _constraint,
    "padding": _padding,
    "data_format": lambda value: _FORMATS[value],
    "implementation": lambda value: _IMPLEMENTATIONS[value],
    "unit_forget_bias": lambda value: value == "one",
    "layer": lambda value: {"module": "keras.layers", **_layer(value), "registered_name": None},
}
