"""Orders a published bundle to devices and waits for them: what several commands of ``fieldloop`` end with."""

import random
import signal
import threading
from collections.abc import Callable, Sequence
from typing import Final

from broker.audit import AuditedPublisher, AuditLog
from broker.client import WireClient
from broker.messages import BundleRef
from broker.topics import DeviceId, FleetId
from edge_agent.clock import SystemClock
from trainer.continuous.station import Places
from trainer.monitoring.store import open_store
from trainer.project.project import LoadedProject
from trainer.rollout.operator import Rollout, RolloutOperator
from trainer.rollout.steps import RolloutRules

_TICK_S: Final = 0.5
_CONNECT_S: Final = 15.0


def order_bundle(
    loaded: LoadedProject,
    places: Places,
    bundle: BundleRef,
    *,
    reason: str,
    shares: Sequence[float],
    patience_s: float,
    devices: Sequence[DeviceId] | None = None,
    on_step: Callable[[str], None],
) -> Rollout:
    """Order a bundle ring by ring, until it is done or halted, or until Ctrl-C; a running monitor carries it on then.

    Args:
        loaded: the project.
        places: of its fleet.
        bundle: that is listed in the update repository.
        reason: devices and the audit keep it.
        shares: growing shares of the fleet.
        patience_s: a device that is silent for so long is excused.
        devices: only these; None: the whole fleet.
        on_step: is told of every step.
    """
    clock = SystemClock()
    fleet = FleetId(loaded.project.fleet)
    store = open_store(places.database)
    client = WireClient(
        places.endpoint,
        f"rollout-{fleet}-{random.Random().getrandbits(32):08x}",
        filters=(),
        on_delivery=lambda _: None,
        rng=random.Random(),
        clean_session=True,
        tls=places.link.context() if places.link else None,
    )
    client.start()
    publish = AuditedPublisher(
        lambda topic, payload: client.publish_and_wait(topic, payload, _CONNECT_S),
        AuditLog(places.audit, clock.utc_s),
        places.by,
    )
    operator = RolloutOperator(store, fleet, publish, clock)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        state = operator.start(
            bundle,
            order_id=f"{bundle.name}-{bundle.version}-{int(clock.utc_s())}",
            by=places.by,
            reason=reason,
            shares=shares,
            rules=RolloutRules(loaded.project.rollout.max_failures, patience_s),
            devices=devices,
        )
        told = ""
        while state.state == "running" and not ended.is_set():
            state = operator.step(state.order_id)
            if state.last_step != told:
                on_step(state.last_step)
            told = state.last_step
            if state.state == "running":
                ended.wait(_TICK_S)
    finally:
        client.close()
        store.close()
    return state
