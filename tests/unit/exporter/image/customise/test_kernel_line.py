"""Tests of exporter.image.customise.kernel_line."""

import pytest

from exporter.image.customise.errors import CustomiseError
from exporter.image.customise.kernel_line import MAX_BYTES, one_line, replaced, words_of


def test_it_stays_one_line_whatever_ended_it():
    assert (
        one_line(words_of(b"console=tty1  root=PARTUUID=1-02 quiet\r\n")) == b"console=tty1 root=PARTUUID=1-02 quiet\n"
    )


def test_added_words_stand_once_at_the_end_however_often_they_are_added():
    words = replaced(("console=a", "console=b", "ds=nocloud;i=1", "quiet"), ("ds=nocloud;i=2",))
    assert words == ("console=a", "console=b", "quiet", "ds=nocloud;i=2")
    assert replaced(words, ("ds=nocloud;i=2",)) == words


@pytest.mark.parametrize("content", [b"", b"\n \n", b"console=tty1\nquiet\n", "quiet ü\n".encode()])
def test_what_is_no_line_of_a_kernel_is_refused(content: bytes):
    with pytest.raises(CustomiseError, match=r"cmdline\.txt"):
        words_of(content)


def test_a_line_that_the_kernel_would_cut_off_is_refused():
    with pytest.raises(CustomiseError, match="the kernel reads 2048"):
        one_line(["x" * MAX_BYTES])
