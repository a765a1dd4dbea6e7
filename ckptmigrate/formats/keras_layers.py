"""The variables of Keras' layer classes, in the one spelling that every Keras-family file is read in.

A variable's path below its layer is that of its attributes without leading underscores, as tf_keras calls them
(`kernel`, `cell/recurrent_kernel`, `forward_layer/cell/kernel`, `query_dense/kernel`, `layer/kernel`). The order is
that of creation. Legacy .h5 files list a layer's trainable variables before the others, v3 files number those of each
group (the path without its last part): both follow from this table. Facts: tf_keras 2.21, Keras 3.15, by their weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ckptmigrate.formats.keras_config import Configured
from ckptmigrate.table import Role


@dataclass(frozen=True, slots=True)
class Weight:
    """One variable of a layer.

    Attributes:
        path: Its attribute path below the layer.
        role: What it is for.
        is_trainable: False for statistics, and when the layer or one around it is frozen.
        spelled: What else its last part is called in files.
        when: The setting without which it doesn't exist ("" for none); `default` is the setting's value where it is not
            in the configuration.
        default: See `when`.
    """

    path: str
    role: Role = "weight"
    is_trainable: bool = True
    spelled: tuple[str, ...] = ()
    when: str = ""
    default: bool = True

    def exists(self, config: Mapping[str, Any]) -> bool:
        """Whether a layer of these settings has it; Keras 1 wrote `bias` for `use_bias`."""
        if not self.when:
            return True
        value = config.get(self.when, config.get("bias", self.default) if self.when == "use_bias" else self.default)
        return value is not None and value is not False


def _fixed(path: str, role: Role = "weight", *spelled: str, when: str = "", default: bool = True) -> Weight:
    return Weight(path, role, False, spelled, when, default)


_KERNEL, _BIAS = Weight("kernel", spelled=("W",)), Weight("bias", spelled=("b",), when="use_bias")
_SCALED = (Weight("gamma", when="scale"), Weight("beta", when="center"))
_PLAIN = (_KERNEL, _BIAS)
_RECURRENT = (_KERNEL, Weight("recurrent_kernel"), _BIAS)
_DEPTHWISE = Weight("depthwise_kernel", spelled=("kernel",))
_NORMALIZED = (
    *_SCALED,
    _fixed("moving_mean", "bn_mean", "running_mean"),
    _fixed("moving_variance", "bn_variance", "running_std"),  # Keras 1 called the variance so
    _fixed("moving_stddev", when="renorm", default=False),
    _fixed("renorm_mean", when="renorm", default=False),
    _fixed("renorm_stddev", when="renorm", default=False),
)


def _below(prefix: str, weights: Sequence[Weight]) -> tuple[Weight, ...]:
    return tuple(replace(weight, path=f"{prefix}/{weight.path}") for weight in weights)


_ATTENTION = tuple(w for part in ("query", "key", "value", "output") for w in _below(f"{part}_dense", _PLAIN))

_CONVOLUTIONS = (
    *("Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"),
    *("Convolution1D", "Convolution2D", "Convolution3D", "Deconvolution2D", "Deconvolution3D"),
    *("AtrousConvolution1D", "AtrousConvolution2D", "LocallyConnected1D", "LocallyConnected2D"),
)
_RECURRENTS = ("LSTM", "GRU", "SimpleRNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
_BATCH_NORMALIZATIONS = ("BatchNormalization", "BatchNormalizationV1", "BatchNormalizationV2", "SyncBatchNormalization")

# Class -> its own variables; what it wraps is added from its configuration.
WEIGHTS: Mapping[str, tuple[Weight, ...]] = {
    "Dense": _PLAIN,
    "TimeDistributedDense": _PLAIN,
    **dict.fromkeys(_CONVOLUTIONS, _PLAIN),
    "EinsumDense": (_KERNEL, Weight("bias", when="bias_axes", default=False)),
    "DepthwiseConv1D": (_DEPTHWISE, _BIAS),
    "DepthwiseConv2D": (_DEPTHWISE, _BIAS),
    **dict.fromkeys(
        ("SeparableConv1D", "SeparableConv2D", "SeparableConvolution1D", "SeparableConvolution2D"),
        (Weight("depthwise_kernel"), Weight("pointwise_kernel"), _BIAS),
    ),
    "Embedding": (Weight("embeddings", spelled=("W",)),),
    **dict.fromkeys(_BATCH_NORMALIZATIONS, _NORMALIZED),
    **dict.fromkeys(("LayerNormalization", "GroupNormalization"), _SCALED),
    "RMSNormalization": (Weight("scale"),),
    "Normalization": (
        _fixed("mean", "weight", "adapt_mean"),
        _fixed("variance", "weight", "adapt_variance"),
        _fixed("count", "counter"),
    ),
    "PReLU": (Weight("alpha", spelled=("alphas",)),),
    **dict.fromkeys(_RECURRENTS, _below("cell", _RECURRENT)),
    **dict.fromkeys(("LSTMCell", "GRUCell", "SimpleRNNCell", "ConvLSTMCell", "CuDNNLSTM", "CuDNNGRU"), _RECURRENT),
    **dict.fromkeys(("MultiHeadAttention", "GroupedQueryAttention"), _ATTENTION),
    "Attention": (Weight("scale", when="use_scale", default=False),),
    "AdditiveAttention": (Weight("scale", when="use_scale"),),
    "SpectralNormalization": (_fixed("vector_u", "other", "sn_u"),),
    "RNN": (),
    "StackedRNNCells": (),
    "Bidirectional": (),
    "TimeDistributed": (),
}

# Whose variables come after those of what they wrap.
_WRAPPED_FIRST = frozenset({"SpectralNormalization"})


def weights_of(layer: Configured) -> tuple[Weight, ...] | None:
    """The variables of a layer, or of a model's layers, by paths below it, in the order of creation.

    Returns:
        None when a class in it is not known: then the file alone tells.

    >>> [w.path for w in weights_of(Configured("d", "Dense", {"use_bias": False}))]
    ['kernel']
    """
    if layer.layers:
        parts = [(inner.name, weights_of(inner)) for inner in layer.layers]
    else:
        parts = [(name, weights_of(inner)) for name, inner in layer.inner.items()]
        own = _own(layer)
        if own is None:
            return None
        parts.insert(len(parts) if layer.class_name in _WRAPPED_FIRST else 0, ("", own))
    found: list[Weight] = []
    for prefix, weights in parts:
        if weights is None:
            return None
        found += _below(prefix, weights) if prefix else weights
    return tuple(found if layer.is_trainable else (replace(w, is_trainable=False) for w in found))


def _own(layer: Configured) -> tuple[Weight, ...] | None:
    weights = WEIGHTS.get(layer.class_name)
    if weights is None:
        return None
    if layer.class_name == "Normalization" and layer.config.get("mean") is not None:
        return ()  # given with the layer, not learned
    return tuple(weight for weight in weights if weight.exists(layer.config))


def legacy_order(weights: Sequence[Weight]) -> tuple[Weight, ...]:
    """As a layer's group in a legacy .h5 file lists them: trainable ones first, which moves those of frozen layers."""
    return tuple(sorted(weights, key=lambda weight: not weight.is_trainable))


def grouped(weights: Sequence[Weight]) -> Iterator[tuple[str, int, Weight]]:
    """As v3 files number them: (group below the layer, number in its `vars`, weight); each group's own order counts."""
    counts: dict[str, int] = {}
    for weight in weights:
        group = weight.path.rpartition("/")[0]
        yield group, counts.setdefault(group, 0), weight
        counts[group] += 1
