import math

import pytest

from exporter.proof.units import figure_and_limit, size_text, time_text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 bytes"),
        (10, "10 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (13_370, "13.4 kB"),
        (4 * 1024 * 1024, "4.2 MB"),
        (100_000_000, "100 MB"),
        (1_500_000_000, "1.5 GB"),
    ],
)
def test_a_size_reads_as_people_say_it(size_bytes, text):
    assert size_text(size_bytes) == text


@pytest.mark.parametrize(
    ("time_us", "text"),
    [
        (0.0, "0 µs"),
        (1e-6, "1e-06 µs"),
        (5.04, "5 µs"),
        (350.0, "350 µs"),
        (1200.0, "1.2 ms"),
        (2.5e6, "2.5 s"),
        (math.nan, "nan µs"),
    ],
)
def test_a_time_reads_as_people_say_it(time_us, text):
    assert time_text(time_us) == text


@pytest.mark.parametrize(
    ("value", "limit", "texts"),
    [
        (4_200_001, 4_194_304, ("4.2 MB", "4.19 MB")),
        (4_194_304, 4_194_304, ("4.2 MB", "4.2 MB")),
        (1_000_001, 1_000_000, ("1.000001 MB", "1 MB")),
        (999_999, 1_000_000, ("1000 kB", "1 MB")),
    ],
)
def test_what_is_over_its_limit_never_reads_like_the_limit(value, limit, texts):
    assert figure_and_limit(value, limit, size_text) == texts
