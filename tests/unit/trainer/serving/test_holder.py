"""One version takes over from another: proved beside it, refused if it answers otherwise, closed when it is done."""

from edge_agent.errors import StorageError
from tests.serving import GOOD, running
from tests.waiting import wait_until
from trainer.errors import RegistryError
from trainer.serving import model


def version(service):
    return service.infer(GOOD)[1]["model_version"]


def wait_until_asked_again(service):
    before = service.shelf.asked
    # The look that goes on may have begun before.
    wait_until(lambda: service.shelf.asked > before + 1, what="it was asked again")


def test_another_version_takes_over(bundles):
    with running(bundles[1]) as service:
        old = service.service.holder.model
        assert version(service) == "1"
        service.shelf.bundle = bundles[2]
        wait_until(lambda: version(service) == "2", what="version 2 answers")
        assert service.infer(GOOD, path="/v2/models/toy/versions/1/infer")[0] == 404
        assert old._scorers == []
        figures = service.ask("GET", "/metrics")[1].decode()
    assert 'fieldloop_serving_swaps_total{outcome="done"} 1.0' in figures
    assert 'variant="onnx-fp32",version="2"} 1.0' in figures
    assert 'variant="onnx-fp32",version="1"} 1.0' not in figures


def test_a_version_whose_golden_rows_differ_does_not_take_over_and_is_tried_once(bundles, caplog):
    with running(bundles[1]) as service:
        service.shelf.bundle = bundles["bad"]
        holder = service.service.holder
        wait_until(lambda: holder.refused == str(bundles["bad"]), what="it is refused")
        wait_until_asked_again(service)
        assert version(service) == "1"
        assert b'swaps_total{outcome="refused"} 1.0' in service.ask("GET", "/metrics")[1]
        # Another one still may.
        service.shelf.bundle = bundles[2]
        wait_until(lambda: version(service) == "2", what="version 2 answers")
    assert "golden rows differ" in caplog.text


def test_a_registry_that_cannot_be_asked_ends_nothing(bundles, caplog):
    with running(bundles[1]) as service:
        for error in (RegistryError("no such version"), ConnectionError("far away")):
            service.shelf.error = error
            wait_until_asked_again(service)
            assert version(service) == "1"
        service.shelf.error = None
        service.shelf.bundle = bundles[2]
        wait_until(lambda: version(service) == "2", what="version 2 answers")
    assert "no such version" in caplog.text
    assert "far away" in caplog.text


def test_what_cannot_be_read_now_is_tried_again(bundles, monkeypatch):
    tries = []

    def unreadable(offer, *rest):
        tries.append(offer)
        if len(tries) < 3:
            raise StorageError("the disk is away")
        return opening(offer, *rest)

    opening = model.open_model
    monkeypatch.setattr("trainer.serving.holder.open_model", unreadable)
    with running(bundles[1]) as service:
        service.shelf.bundle = bundles[2]
        wait_until(lambda: version(service) == "2", what="version 2 answers")
    assert len(tries) == 3


def test_the_old_version_stays_open_until_its_last_request_has_its_answer(bundles):
    with running(bundles[1]) as service:
        old = service.service.holder.model
        old.enter()
        service.shelf.bundle = bundles[2]
        wait_until(lambda: version(service) == "2", what="version 2 answers")
        assert old.inline.score(GOOD).label == "high"
        old.leave()
        assert old._scorers == []
