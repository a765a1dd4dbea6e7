"""The `checkpoint` file: as TensorFlow wrote it, and as nobody should."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptmigrate.errors import DamagedError
from ckptmigrate.wire.state_file import MAX_STATE_BYTES, CheckpointState, decode_state, encode_state

MANAGER = b"""model_checkpoint_path: "ckpt-3"
all_model_checkpoint_paths: "ckpt-2"
all_model_checkpoint_paths: "ckpt-3"
all_model_checkpoint_timestamps: 1795179862.789751
all_model_checkpoint_timestamps: 1795179862.8057766
last_preserved_timestamp: 1795179861.7521539
"""
BROKEN = [
    b"",
    b"\n\n",
    b'all_model_checkpoint_paths: "a"\n',
    b'model_checkpoint_path "a"\n',
    b'model_checkpoint_path: "a\n',
    b"\x00\x01\x02",
    b"hello",
    b'model_checkpoint_path: ""\n',
    b'"' * 100_000,
]


def test_what_checkpoint_manager_writes() -> None:
    assert decode_state(MANAGER, "checkpoint") == CheckpointState("ckpt-3", ("ckpt-2", "ckpt-3"))


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (rb"model_checkpoint_path: 'a\'b'", "a'b"),
        (rb'model_checkpoint_path:"C:\\\\x\\\\y"'.replace(rb"\\\\", rb"\\"), r"C:\x\y"),
        (rb'model_checkpoint_path: "\303\251\x41"', "éA"),
        ('# of today\nmodel_checkpoint_path: "é"  # newest'.encode(), "é"),
        (b'model_checkpoint_path: "a" all_model_checkpoint_paths: "b"', "a"),
    ],
)
def test_spellings_of_the_text_format(text: bytes, path: str) -> None:
    assert decode_state(text, "checkpoint").newest == path


@pytest.mark.parametrize("data", BROKEN)
def test_what_is_no_state_file(data: bytes) -> None:
    with pytest.raises(DamagedError) as caught:
        decode_state(data, "here/checkpoint")
    assert caught.value.where.startswith("here/checkpoint")


def test_a_huge_file_is_none() -> None:
    with pytest.raises(DamagedError, match="at most"):
        decode_state(b" " * (MAX_STATE_BYTES + 1), "checkpoint")


@given(st.lists(st.text(min_size=1) | st.just("\udcff"), min_size=1, max_size=3).map(tuple))
def test_what_is_written_is_read(paths: tuple[str, ...]) -> None:
    state = CheckpointState(paths[-1], paths)
    assert decode_state(encode_state(state), "checkpoint") == state
