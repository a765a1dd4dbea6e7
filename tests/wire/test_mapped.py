"""Messages of mapped files: the same fields as `protobuf.fields` finds, errors with the place in the file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptmigrate.errors import DamagedError, SourceError
from ckptmigrate.wire.mapped import Mapped, walk
from ckptmigrate.wire.protobuf import MalformedError, delimited, fields, varint


def outcome(read, data):
    try:
        return [(tag, bytes(v) if isinstance(v, memoryview) else v) for tag, v in read(data)]
    except MalformedError:
        return "malformed"


@given(st.binary(max_size=40))
def test_walks_what_fields_lists(data):
    assert outcome(walk, memoryview(data)) == outcome(fields, memoryview(data))


MESSAGES = {
    "a field past the end": delimited(1, b"")[:1] + varint(9) + b"abc",
    "a group": b"\x0b",
    "a varint without end": b"\x08" + b"\xff" * 11,
    "a varint cut off": b"\x08\xff",
    "a fixed number cut off": b"\x0d\x00",
}


@pytest.mark.parametrize("inner", MESSAGES.values(), ids=list(MESSAGES))
def test_errors_tell_the_byte_of_the_file(inner, tmp_path):
    path = tmp_path / "x.pb"
    path.write_bytes(delimited(1, b"1234567") + delimited(2, inner))
    file = Mapped(path)
    (_, first), (_, message) = file.fields(file.view)
    assert (file.offset(first), file.offset(message)) == (2, 11)
    with pytest.raises(DamagedError, match=r"at byte 1[12]$") as caught:
        list(file.fields(message))
    assert caught.value.where == str(path)


def test_what_cannot_be_mapped(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    assert list(walk(Mapped(tmp_path / "empty").view)) == []
    with pytest.raises(SourceError):
        Mapped(tmp_path)
    with pytest.raises(SourceError):
        Mapped(tmp_path / "none")
