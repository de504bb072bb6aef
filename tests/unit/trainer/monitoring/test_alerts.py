import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.waiting import wait_until
from trainer.monitoring.alerts import Alert, AllAlerts, FileAlerts, WebhookAlerts

ALERT = Alert(1.0, "collapse", "fleet", "Half of the rows are wrong.", {"loss": float("inf"), "p": 0.01})


class Webhook:
    """A real HTTP server that fails as often as it is told, then takes what it is posted."""

    def __init__(self, failures=0):
        self.received: list[tuple[str, dict[str, object]]] = []
        self.tries, self.failures = 0, failures
        self.hold = threading.Event()
        self.hold.set()
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                webhook.hold.wait(20)
                webhook.tries += 1
                body = self.rfile.read(int(self.headers["Content-Length"]))
                is_failing = webhook.tries <= webhook.failures
                if not is_failing:
                    webhook.received.append((self.headers["Content-Type"], json.loads(body)))
                self.send_response(503 if is_failing else 204)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/alerts"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def close(self):
        self.hold.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def webhook():
    server = Webhook()
    yield server
    server.close()


def test_each_alert_is_one_json_line_of_the_file(tmp_path):
    path = tmp_path / "told" / "alerts.jsonl"
    alerts = FileAlerts(path)
    alerts.send(ALERT)
    alerts.send(ALERT)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 2
    assert lines[0]["kind"] == "collapse"
    assert lines[0]["evidence"] == {"loss": None, "p": 0.01}


def test_a_file_that_cannot_be_written_is_logged_and_nothing_is_raised(tmp_path, caplog):
    FileAlerts(tmp_path).send(ALERT)
    assert "Half of the rows are wrong" in caplog.text


def test_an_alert_is_posted_as_json(webhook):
    alerts = WebhookAlerts(webhook.url)
    alerts.send(ALERT)
    wait_until(lambda: webhook.received)
    alerts.close()
    kind, body = webhook.received[0]
    assert kind == "application/json"
    assert body["text"] == "Half of the rows are wrong."


def test_a_webhook_that_fails_at_first_is_tried_again(webhook):
    webhook.failures = 2
    alerts = WebhookAlerts(webhook.url, first_retry_s=0.01)
    alerts.send(ALERT)
    wait_until(lambda: webhook.received)
    alerts.close()
    assert webhook.tries == 3


def test_a_webhook_that_hangs_does_not_block_and_its_alerts_still_reach_the_file(webhook, tmp_path):
    webhook.hold.clear()
    path = tmp_path / "alerts.jsonl"
    posting = WebhookAlerts(webhook.url)
    alerts = AllAlerts([posting, FileAlerts(path)])
    for _ in range(20):
        alerts.send(ALERT)
    assert len(path.read_text().splitlines()) == 20
    assert webhook.received == []
    webhook.hold.set()
    wait_until(lambda: len(webhook.received) == 20)
    alerts.close()


def test_a_webhook_that_stays_away_is_logged_with_the_alert(caplog):
    alerts = WebhookAlerts("http://127.0.0.1:9/", first_retry_s=0.001)
    alerts.send(ALERT)
    wait_until(lambda: "Half of the rows are wrong" in caplog.text)
    alerts.close()


def test_only_web_addresses_are_posted_to():
    with pytest.raises(ValueError, match="file:///etc/passwd"):
        WebhookAlerts("file:///etc/passwd")
