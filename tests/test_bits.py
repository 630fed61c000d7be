from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flipproof.bits import BitReader, BitWriter, pack_numbers, unpack_numbers
from flipproof.errors import HeaderError

FIELDS = st.lists(st.tuples(st.integers(1, 40), st.integers(0)).map(lambda f: (f[0], f[1] % (1 << f[0]))))


@given(FIELDS, st.lists(st.integers(-200, 200)))
def test_fields_come_back(numbers, signed):
    writer = BitWriter()
    for width, value in numbers:
        writer.write("number", value, width)
    for value in signed:
        writer.write_signed("signed", value)
    reader = BitReader(writer.getvalue())
    assert [reader.read("number", width) for width, _ in numbers] == [value for _, value in numbers]
    assert [reader.read_signed("signed") for _ in signed] == signed
    assert sum(field.bits for field in reader.fields) == writer.bits


def test_appended_fields_follow():
    first, second = BitWriter(), BitWriter()
    first.write("a", 5, 3)
    second.write("b", 9, 5)
    first.append(second)
    assert first.getvalue() == bytes([0b10101001])


def test_a_field_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="expected width to fit 4 bits, got 16"):
        BitWriter().write("width", 16, 4)


@pytest.mark.parametrize("data", [b"", b"\xff", b"\xff\xff\xff"])
def test_reading_past_the_end_is_a_header_error(data):
    reader = BitReader(data)
    with pytest.raises(HeaderError, match="ends too early"):
        reader.read_signed("difference")


@given(st.integers(0, 20), st.lists(st.integers(0, 2**20 - 1), min_size=1))
def test_number_arrays_come_back(width, numbers):
    array = np.array(numbers) % (1 << width)
    assert (unpack_numbers(pack_numbers(array, width)) == array).all()
