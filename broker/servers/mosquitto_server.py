"""Mosquitto for a fleet: a configuration that lets in who has its certificate, and bounds what each may use.

Written for Debian's Mosquitto 2.0. Pure: text from values; `fleet_broker.py` writes the files and runs it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.messages import MAX_PACKET_BYTES

SERVER_CONFIG_NAME: Final = "mosquitto.conf"
RULES_NAME: Final = "access.acl"
DROP_IN_NAME: Final = "fieldloop.conf"
STATE_NAME: Final = "state"
# To a monitor that is slower than a flood of small messages; what is over is dropped, whosever it is, and its device
# sends it again seconds later. All of them together are bounded by their bytes.
MAX_QUEUED: Final = 100_000
MAX_IN_FLIGHT: Final = 1000

# The handshake of TLS 1.2 with forward secrecy and authenticated ciphers only; TLS 1.3 has no others.
_CIPHERS: Final = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305"
# Sockets and files beside those of clients.
_OTHER_FILES: Final = 1024


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """One Mosquitto for one fleet.

    Attributes:
        folder: of its configuration, rules and state; absolute.
        ca: certificate of the fleet's root.
        certificate, key: of the server; the certificate with its chain.
        port: where it listens with TLS.
        host: address that it listens on; empty: all of them.
        max_connections: links at a time; one more is refused.
        log: ``stderr`` (systemd keeps it) or ``syslog``.
        user: whom it becomes when root starts it; None: as Mosquitto does.
    """

    folder: Path
    ca: Path
    certificate: Path
    key: Path
    port: int = 8883
    host: str = ""
    max_connections: int = 10_000
    log: str = "stderr"
    user: str | None = None

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.folder / SERVER_CONFIG_NAME

    @property
    def rules(self) -> Path:
        """The access rules."""
        return self.folder / RULES_NAME

    @property
    def state(self) -> Path:
        """Folder of retained messages and sessions."""
        return self.folder / STATE_NAME


def render_server_config(plan: ServerPlan) -> str:
    """Return ``mosquitto.conf``.

    Who comes without a certificate of the fleet is refused in the handshake. The name in the certificate is user name
    and client id at once, so that nobody can end or take over another's session: one identity has one link.
    """
    lines = [
        "# By `fieldloop broker render`; a change here is lost.",
        f"listener {plan.port}{f' {plan.host}' if plan.host else ''}",
        f"cafile {plan.ca}",
        f"certfile {plan.certificate}",
        f"keyfile {plan.key}",
        "# The least that is spoken; 1.3 is preferred.",
        "tls_version tlsv1.2",
        f"ciphers {_CIPHERS}",
        "require_certificate true",
        "use_identity_as_username true",
        "use_username_as_clientid true",
        "allow_anonymous false",
        f"max_connections {plan.max_connections}",
        "",
        "# Read again on SIGHUP, for clients that are connected too.",
        f"acl_file {plan.rules}",
        "# A retained message is not handed out when who wrote it may write it no more.",
        "check_retain_source true",
        "",
        "# The largest message of any channel: over this a link is cut before the packet is read.",
        f"max_packet_size {MAX_PACKET_BYTES}",
        f"max_inflight_messages {MAX_IN_FLIGHT}",
        f"max_queued_messages {MAX_QUEUED}",
        f"max_queued_bytes {64 << 20}",
        "queue_qos0_messages false",
        "persistent_client_expiration 7d",
        "persistence true",
        f"persistence_location {plan.state}/",
        "autosave_interval 30",
        "",
        f"log_dest {plan.log}",
        "log_type error",
        "log_type warning",
        "log_type notice",
        "log_type information",
        "# Who came and went, with name and address.",
        "connection_messages true",
    ]
    if plan.user is not None:
        lines.append(f"user {plan.user}")
    return "\n".join(lines) + "\n"


def render_drop_in(plan: ServerPlan, program: Path, user: str) -> str:
    """Return a drop-in for Debian's ``mosquitto.service``: runs this configuration, as a user who may do little.

    Args:
        plan: the broker.
        program: where Mosquitto is.
        user: owner of the folder and of the server's key.
    """
    return f"""\
# By `fieldloop broker render`: /etc/systemd/system/mosquitto.service.d/{DROP_IN_NAME}
[Service]
User={user}
ExecStartPre=
ExecStart=
ExecStart={program} -c {plan.config}
ExecReload=
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
LimitNOFILE={plan.max_connections + _OTHER_FILES}
ReadWritePaths={plan.state}
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=true
PrivateDevices=true
NoNewPrivileges=true
CapabilityBoundingSet=
ProtectKernelTunables=true
ProtectKernelModules=true
ProtectKernelLogs=true
ProtectControlGroups=true
ProtectClock=true
ProtectHostname=true
ProtectProc=invisible
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=true
RestrictRealtime=true
RestrictSUIDSGID=true
LockPersonality=true
MemoryDenyWriteExecute=true
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
UMask=0077
"""
