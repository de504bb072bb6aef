import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.demo.shares import blocks, every_nth
from trainer.errors import DataError


@given(first=st.integers(0, 1000), length=st.integers(1, 300), devices=st.integers(1, 20))
def test_every_row_is_dealt_to_exactly_one_device(first, length, devices):
    if length < devices:
        with pytest.raises(DataError):
            every_nth(first, first + length, devices)
        return
    dealt = [row for share in every_nth(first, first + length, devices) for row in share.rows]
    assert sorted(dealt) == list(range(first, first + length))


def test_blocks_are_contiguous():
    assert [list(share.rows) for share in blocks((0, 2, 5), 2)] == [[0, 1], [2, 3, 4]]


def test_more_devices_than_blocks_are_refused():
    with pytest.raises(DataError, match="2 blocks"):
        blocks((0, 2, 5), 3)
