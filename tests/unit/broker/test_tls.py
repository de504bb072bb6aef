"""Files that are no certificates are refused, by their names."""

import pytest

from broker.errors import LinkError
from broker.tls import open_tls


def test_files_that_are_no_certificates_are_refused(tmp_path):
    (tmp_path / "ca.pem").write_text("none")
    with pytest.raises(LinkError, match=r"ca\.pem"):
        open_tls(tmp_path / "ca.pem", None, None)
    with pytest.raises(LinkError, match=r"missing\.pem cannot be read"):
        open_tls(tmp_path / "missing.pem", None, None)
    with pytest.raises(LinkError, match=r"TLS: \S*/me\.pem cannot be read"):
        open_tls(tmp_path / "ca.pem", tmp_path / "me.pem", None)
    with pytest.raises(LinkError, match="its certificate"):
        open_tls(tmp_path / "ca.pem", None, tmp_path / "me.key")
