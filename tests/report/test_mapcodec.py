from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from forensics.records import Map
from forensics.report.mapcodec import decode_map, encode_map

SHAPES = st.tuples(st.integers(1, 20), st.integers(1, 20))


@settings(max_examples=50)
@given(arrays(np.bool_, SHAPES))
def test_decision_comes_back_exactly(values):
    back = decode_map(encode_map(Map("decision", 8, values)), "decision", 8)
    assert (back.kind, back.stride, back.values.dtype) == ("decision", 8, np.bool_)
    np.testing.assert_array_equal(back.values, values)


@settings(max_examples=50)
@given(arrays(np.float32, SHAPES, elements=st.floats(0, 1, width=32)))
@pytest.mark.parametrize(("bits", "steps"), [(8, 255), (16, 65535)])
def test_probability_comes_back_within_half_a_step(bits, steps, values):
    back = decode_map(encode_map(Map("probability", 4, values), bits), "probability", 4).values
    assert back.dtype == np.float32
    assert np.abs(back - values).max() <= 0.5 / steps + 1e-7
    again = decode_map(encode_map(Map("confidence", 4, back), bits), "confidence", 4).values
    np.testing.assert_array_equal(again, back)


def test_a_decision_takes_one_bit_per_cell():
    noise = np.random.default_rng(0).random((256, 256)) < 0.5
    data = encode_map(Map("decision", 1, noise))
    assert Image.open(io.BytesIO(data)).mode == "1"
    assert len(data) < 1.05 * 256 * 256 / 8


def test_a_map_of_a_very_large_image_is_read():
    values = np.zeros((14000, 14000), np.bool_)  # Pillow refuses to open as many pixels
    values[-1, -1] = True
    back = decode_map(encode_map(Map("decision", 1, values)), "decision", 1).values
    assert back[-1, -1]
    assert np.count_nonzero(back) == 1


@pytest.mark.parametrize("bad", [np.nan, -0.1, 1.5, np.inf])
def test_values_that_are_no_probability_are_refused(bad):
    with pytest.raises(ValueError, match=r"0\.\.1"):
        encode_map(Map("probability", 1, np.array([[0.5, bad]], np.float32)))


def test_wrong_shapes_types_and_bytes_are_refused():
    with pytest.raises(ValueError, match="rows, columns"):
        encode_map(Map("probability", 1, np.zeros((2, 2, 3), np.float32)))
    with pytest.raises(ValueError, match="holds bool"):
        encode_map(Map("decision", 1, np.zeros((2, 2), np.float32)))
    data = encode_map(Map("probability", 1, np.zeros((20, 20), np.float32)))
    with pytest.raises(ValueError, match="PNG mode L"):
        decode_map(data, "decision", 1)
    for damaged in (b"", b"hello", data[:-25]):
        with pytest.raises(ValueError, match="no readable PNG"):
            decode_map(damaged, "probability", 1)
