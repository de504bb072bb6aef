"""Where a local MQTT broker is, how it is known, and who we are to it: settings become a place to connect to."""

import os
from pathlib import Path
from typing import Final

from broker.errors import LinkError
from broker.tls import open_tls
from edge_agent.errors import SettingsError
from edge_agent.sensing.mqtt_link import MqttPlace
from edge_agent.settings import SinkSettings, SourceSettings, read_password

MQTT_PORT: Final = 1883
MQTT_TLS_PORT: Final = 8883


def place_of(settings: SourceSettings | SinkSettings, section: str, client_id: str) -> MqttPlace:
    """Return the place that a source or a sink names.

    Args:
        settings: of the source or the sink.
        section: its name, for errors.
        client_id: unique at the broker.

    Raises:
        SettingsError: a file or a variable that they name is not there, or is not what it should be.
    """
    tls = None
    if settings.ca is not None:
        try:
            tls = open_tls(settings.ca, settings.certificate, settings.key)
        except LinkError as error:
            raise SettingsError(f"key '{section}.ca': {error}") from error
    port = settings.port
    if port is None:
        port = MQTT_PORT if tls is None else MQTT_TLS_PORT
    return MqttPlace(settings.host, port, client_id, settings.username, _password_of(settings, section), tls)


def _password_of(settings: SourceSettings | SinkSettings, section: str) -> str | None:
    """Return the password; it is kept nowhere but in memory, and no message has it."""
    if settings.password_file is not None:
        try:
            return read_password(Path(settings.password_file))
        except OSError as error:
            raise SettingsError(
                f"key '{section}.password_file': {settings.password_file}: {error.strerror or error}"
            ) from error
    if settings.password_env is None:
        return None
    password = os.environ.get(settings.password_env)
    if password is None:
        raise SettingsError(
            f"key '{section}.password_env': there is no variable {settings.password_env} in the environment"
        )
    return password
