from hypothesis import given
from hypothesis import strategies as st

from exporter.image.build.partitions import ALIGNED_BYTES, MIB, lay_out, table_script


@given(root=st.integers(1, 1 << 34), data=st.integers(1, 1 << 34))
def test_partitions_hold_what_they_must_aligned_and_without_overlaps(root: int, data: int):
    layout = lay_out(root, data)
    assert layout.root.size >= root
    assert layout.data.size >= data
    places = (layout.boot, layout.root, layout.data)
    assert all(each.start % ALIGNED_BYTES == each.size % ALIGNED_BYTES == 0 for each in places)
    assert layout.boot.start > 0
    assert layout.boot.end <= layout.root.start
    assert layout.root.end <= layout.data.start
    assert layout.image_bytes == layout.data.end


def test_the_root_lies_at_the_same_place_whatever_lies_on_the_data_partition():
    assert lay_out(300 * MIB, 64 * MIB).root == lay_out(300 * MIB, 640 * MIB).root


def test_the_table_is_told_in_sectors_with_an_identifier_of_its_own():
    script = table_script(lay_out(8 * MIB, 4 * MIB), "one").decode()
    assert "label: dos\n" in script
    assert "start=8192, size=262144, type=c\n" in script
    assert "start=270336, size=16384, type=83\n" in script
    assert "start=286720, size=8192, type=83\n" in script
    assert table_script(lay_out(8 * MIB, 4 * MIB), "another").decode() != script
