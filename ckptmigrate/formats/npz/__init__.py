"""NumPy archives, the worked example of a format.

A format is a folder with one `Format` record, called FORMAT. Behind it stand, here as elsewhere:

    naming.py    what things are called inside the file; constants and pure functions
    reader.py    path -> Checkpoint: looks at the headers, and leaves tensors to be loaded when they are wanted
    writer.py    Checkpoint -> files: `check` says what the format can't hold before a byte is written

and below them what only this format needs: `npy.py`, one array. What formats share lies beside their folders:
`packing.py` and `unpacking.py` turn a Checkpoint into named arrays and a document, and back; or in wire/, as the
guarded zip archive does.
"""

from ckptmigrate.formats.format import Format
from ckptmigrate.formats.npz.naming import FORMAT_ID, SUFFIX

FORMAT = Format(
    name=FORMAT_ID,
    title="NumPy archive",
    suffixes=(SUFFIX,),
    home=__name__,
)
