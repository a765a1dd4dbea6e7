"""`keras-v3`: `.weights.h5`, `.keras` and sharded `.weights.json` of Keras 3, tf_keras and TensorFlow 2.12 to 2.15."""

from ckptmigrate.formats.format import Format
from ckptmigrate.formats.keras_v3.naming import ARCHIVE_SUFFIX, FORMAT_ID, SHARDED_SUFFIX, WEIGHTS_SUFFIX

FORMAT = Format(
    name=FORMAT_ID,
    title="Keras v3 file: weights (.weights.h5, .weights.json), or a whole model (.keras)",
    suffixes=(ARCHIVE_SUFFIX, WEIGHTS_SUFFIX, SHARDED_SUFFIX),
    home=__name__,
)
