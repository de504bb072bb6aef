"""A fleet's server as a card's guest sees it: Mosquitto with TLS, an enrolment endpoint, a signed update repository."""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.enrolment.server import EnrolmentServer
from broker.identity.folder import FleetFolder
from broker.messages import BundleRef, Desired
from broker.topics import Channel
from edge_agent.clock import SystemClock
from exporter.repository.carrying import export_update
from exporter.repository.repository import init_repository, publish_bundle
from exporter.repository.serving import start_repository_server
from tests.arm.system.forests import MODEL, make_forest
from tests.bundles import write_rows
from tests.crash.witness import DEVICE, Witness
from tests.fleet_server import (
    FLEET,
    SecureBroker,
    make_fleet,
    registrar_of,
    running_broker,
    running_endpoint,
)
from tests.ports import free_port
from tests.waiting import wait_until

# What QEMU calls the machine that it runs on.
HOST: Final = "10.0.2.2"
N_ROWS: Final = 100_000
ROWS_PER_SECOND: Final = 20
TOKEN_S: Final = 86_400.0


@dataclass
class CardWorld:
    """Everything but the boards.

    Attributes:
        bundles: the third fails its trial.
        keys: of the repository.
    """

    folder: Path
    fleet: FleetFolder
    broker: SecureBroker
    endpoint: EnrolmentServer
    witness: Witness
    repository: Path
    keys: Path
    repository_url: str
    root: Path
    rows: Path
    bundles: tuple[BundleRef, BundleRef, BundleRef]
    orders: int = 0

    def publish_forest(self, version: int, variants: tuple[str, ...]) -> BundleRef:
        """Make, sign and publish a bundle with these variants."""
        forest = make_forest(self.folder / f"v{version}", version, variants=variants)
        return publish_bundle(forest, self.repository, self.keys, clock=SystemClock())

    def describe_card(
        self,
        name: str,
        *,
        device: str = DEVICE,
        uses: int = 1,
        is_preloaded: bool = True,
        bundle: BundleRef | None = None,
    ) -> Path:
        """Write ``card.toml`` and all that it names into a folder of its own, and return it.

        Args:
            name: of the folder.
            device: name of the board, for which the build makes a claim token; with a star, every board makes its own
                name, and the card brings a token for all of them.
            uses: how many boards may enrol with that.
            is_preloaded: a bundle lies on it.
            bundle: which; None: the first.
        """
        folder = self.folder / name
        folder.mkdir()
        shutil.copy(self.fleet.ca, folder / "ca.pem")
        shutil.copy(self.root, folder / "root.json")
        shutil.copy(self.rows, folder / "rows.csv")
        (folder / "agent.toml").write_text(self._settings(device))
        card = folder / "card.toml"
        card.write_text('agent = "agent.toml"\n')
        if "*" in device:
            with registrar_of(self.fleet) as registrar:
                token = registrar.make_token(TOKEN_S, uses=uses)
            (folder / "claim-token").write_text(token.text + "\n")
            (folder / "claim-token").chmod(0o600)
            card.write_text(card.read_text() + 'token = "claim-token"\n')
        if is_preloaded:
            update = export_update(self.repository, bundle or self.bundles[0], folder / "first.update").path
            card.write_text(card.read_text() + f'bundle = "{update.name}"\n')
        return card

    def order(self, bundle: BundleRef, device: str = DEVICE) -> Desired:
        """Publish what a board shall run."""
        self.orders += 1
        order = Desired(bundle, f"order-{self.orders}", SystemClock().utc_s(), "test", "because")
        self.witness.publish(device, Channel.DESIRED, order)
        return order

    def scoring(self, prefix: str) -> set[str]:
        """Return the names of the boards that begin so, and whose windows have come."""
        records = list(self.witness.records)
        return {key.device for key in records if key.device.startswith(prefix) and self.witness.windows(key.device)}

    def _settings(self, device: str) -> str:
        _, port = self.endpoint.server_address[:2]
        return f"""
device = "{device}"
fleet = "{FLEET}"
[enrolment]
url = "https://{HOST}:{port}"
ca = "ca.pem"
retry_min_s = 0.5
retry_max_s = 5.0
[repository]
url = "{self.repository_url.replace("127.0.0.1", HOST)}"
root = "root.json"
model = "{MODEL}"
spare_disk_bytes = 0
retry_min_s = 0.5
retry_max_s = 2.0
[source]
kind = "csv"
path = "rows.csv"
rows_per_second = {ROWS_PER_SECOND}.0
[sink]
kind = "json_lines"
path = "answers.jsonl"
max_file_bytes = 1073741824
[telemetry]
resend_after_s = 2.0
background_rows = 1
windows_together = 1
max_window_s = 2.0
"""


@contextlib.contextmanager
def open_card_world(folder: Path) -> Iterator[CardWorld]:
    """Run a fleet's server for the time of the context."""
    folder.mkdir(parents=True, exist_ok=True)
    repository, keys, trusted = folder / "repository", folder / "keys", folder / "root.json"
    shutil.copy(init_repository(repository, keys, clock=SystemClock()), trusted)
    one, two, three = (
        publish_bundle(
            make_forest(folder / f"v{version}", version, fails_its_trial=version == 3),
            repository,
            keys,
            clock=SystemClock(),
        )
        for version in (1, 2, 3)
    )
    rows = write_rows(folder / "rows.csv", N_ROWS)
    port = free_port()
    fleet = make_fleet(folder / "fleet", hosts=(HOST, "127.0.0.1"), port=port)
    with contextlib.ExitStack() as opened:
        server = start_repository_server(repository)
        opened.callback(server.stop)
        broker = opened.enter_context(running_broker(fleet, folder / "broker", port))
        endpoint = opened.enter_context(running_endpoint(fleet))
        # Each record's position: when it came, in milliseconds, UTC.
        clock = SystemClock()
        witness = Witness(broker.plain, FLEET, lambda: int(clock.utc_s() * 1000))
        witness.start()
        opened.callback(witness.close)
        wait_until(lambda: witness.is_connected, 10, "the receiver is connected")
        yield CardWorld(
            folder, fleet, broker, endpoint, witness, repository, keys, server.url, trusted, rows, (one, two, three)
        )
