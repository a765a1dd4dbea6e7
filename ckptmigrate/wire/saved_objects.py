"""Writing `saved_model.pb` around variables alone: objects and variables, no graph, no functions, no signatures.

The least that `tf.saved_model.load` opens (tensorflow/python/saved_model/load.py): the objects under the numbers that
the checkpoint's object graph gives them. Messages: tensorflow/core/protobuf/saved_object_graph.proto.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ckptmigrate.objects import Edge, Node, ObjectGraph
from ckptmigrate.wire.bundle_messages import encode_shape
from ckptmigrate.wire.protobuf import delimited, integer, string

PLAIN, LIST, DICT = "_generic_user_object", "trackable_list_wrapper", "trackable_dict_wrapper"
_TAG = "serve"  # tensorflow/python/saved_model/tag_constants.py, `SERVING`
_VERSION = integer(1, 1) + integer(2, 1)  # VersionDef: producer, min_consumer; as TensorFlow writes those three
_ATTRIBUTE = re.compile(r"[\w-]+")  # what an attribute may be called; other names are keys of a dict


@dataclass(frozen=True, slots=True)
class NewVariable:
    """A variable: its own name, DataType number, shape, and whether it is trained."""

    name: str
    dtype: int
    shape: tuple[int, ...]
    trainable: bool


def encode_saved_model(graph: ObjectGraph, variables: Mapping[int, NewVariable]) -> bytes:
    """A SavedModel of one meta graph that has these objects.

    Args:
        graph: The checkpoint's object graph.
        variables: Node -> the variable it is; the others become lists, dicts, or plain objects with attributes.
    """
    objects = b"".join(
        delimited(1, _children(node.children) + _kind(number, node, variables.get(number)))
        for number, node in enumerate(graph.nodes)
    )
    meta_graph = delimited(1, string(4, _TAG)) + delimited(2, b"") + delimited(7, objects)
    return integer(1, 1) + delimited(2, meta_graph)


def _children(edges: tuple[Edge, ...]) -> bytes:
    return b"".join(delimited(1, integer(1, edge.node) + string(2, edge.name)) for edge in edges)


def _kind(number: int, node: Node, variable: NewVariable | None) -> bytes:
    """The field of a SavedObject that tells what it is."""
    if variable is not None:
        shape = delimited(2, encode_shape(variable.shape))
        flag = integer(3, int(variable.trainable))
        return delimited(7, integer(1, variable.dtype) + shape + flag + string(6, variable.name))
    identifier = PLAIN if number == 0 else _identifier([edge.name for edge in node.children])
    return delimited(4, string(1, identifier) + delimited(2, _VERSION))


def _identifier(names: list[str]) -> str:
    """What an object with children of such names is.

    >>> _identifier(["0", "1"]), _identifier(["a/b", "c"]), _identifier(["kernel", "bias"])
    ('trackable_list_wrapper', 'trackable_dict_wrapper', '_generic_user_object')
    """
    if names and sorted(names) == sorted(map(str, range(len(names)))):
        return LIST
    return PLAIN if all(map(_ATTRIBUTE.fullmatch, names)) else DICT
