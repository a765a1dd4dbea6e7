"""The one JSON document of a Checkpoint: everything but the tensors' bytes.

Containers that know nothing but named arrays (npz, safetensors) carry it, and the templates that mappings ship are the
same document with every shape left open. Version 1 is

    {"ckptmigrate": 1,
     "variables":  [{"name", "member", "key", "dtype", "shape", "role", "trainable", "aliases", "copies"}],
     "optimizers": [{"name", "kind", "dialect", "step", "hyper", "scalars", "slots", "order", "unbound", "wraps",
                     "parent"}],
     "objects":    [{"children", "attributes", "slots", "saver", "has_values"}],
     "layout":     [{"name", "class_name", "attributes"}],
     "blobs":      {name: base64},
     "metadata":   {...}}

`member` is the name the container holds the tensor under; `key` stands only where it differs. Fields at their default
are left out. The order of lists is meant; what is a mere map is sorted, so that equal checkpoints give equal bytes.
"""

from ckptmigrate.document.decode import MAX_DOCUMENT_BYTES, TensorOf, decode, load_template
from ckptmigrate.document.encode import dump, encode, encode_template

__all__ = ["MAX_DOCUMENT_BYTES", "TensorOf", "decode", "dump", "encode", "encode_template", "load_template"]
