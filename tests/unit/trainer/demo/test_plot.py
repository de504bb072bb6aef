from trainer.demo.plot import Curve, Moment, draw


def test_the_page_needs_no_other_file(tmp_path):
    png, page = tmp_path / "a.png", tmp_path / "a.html"
    draw(
        png,
        page,
        title="a < b",
        metric="accuracy",
        curves=[Curve("loop", "#1565c0", [1, 2], [0.5, 0.6])],
        moments=[Moment(2, "switch", "#000000")],
        facts=[("rows & more", "5")],
        note="said plainly",
    )
    assert png.read_bytes().startswith(b"\x89PNG")
    text = page.read_text()
    assert "a &lt; b" in text
    assert "rows &amp; more" in text
    assert "data:image/png;base64," in text
    assert "http" not in text.replace("http-equiv", "")
