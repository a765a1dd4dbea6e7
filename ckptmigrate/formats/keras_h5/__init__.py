"""`keras-h5`: the .h5 files of Keras 1 and 2, tf_keras and, on request, Keras 3: weights, or a whole model."""

from __future__ import annotations

from ckptmigrate.formats.format import Format

FORMAT = Format(
    name="keras-h5",
    title="Keras HDF5: weights or a whole model (.h5, .hdf5)",
    suffixes=(".h5", ".hdf5"),
    home=__name__,
    default_name="model.h5",
)
