"""safetensors: https://github.com/huggingface/safetensors. The document lies in `__metadata__["ckptmigrate"]`."""

from ckptmigrate.formats.format import Format
from ckptmigrate.formats.safetensors.naming import FORMAT_ID, INDEX_SUFFIX, SUFFIX
from ckptmigrate.formats.safetensors.reader import identify, read
from ckptmigrate.formats.safetensors.writer import SafetensorsWriter

FORMAT = Format(
    name=FORMAT_ID,
    title="safetensors file, or shards with their index",
    suffixes=(SUFFIX, INDEX_SUFFIX),
    identify=identify,
    read=read,
    writer=SafetensorsWriter(),
)
