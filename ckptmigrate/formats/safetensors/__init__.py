"""safetensors: https://github.com/huggingface/safetensors. The document lies in `__metadata__["ckptmigrate"]`."""

from ckptmigrate.formats.format import Format
from ckptmigrate.formats.safetensors.naming import FORMAT_ID, INDEX_SUFFIX, SUFFIX

FORMAT = Format(
    name=FORMAT_ID,
    title="safetensors file, or shards with their index",
    suffixes=(SUFFIX, INDEX_SUFFIX),
    home=__name__,
)
