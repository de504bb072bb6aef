"""What one service holds at most, and who gets a place: a pure count of the requests that are being answered."""

from http import HTTPStatus

from msgspec import Struct

from edge_agent.sensing.http_message import HttpError


class Limits(Struct, frozen=True):
    """Bounds on what clients can make a service hold.

    Attributes:
        max_body_bytes: of one request; more is refused with 413.
        max_rows: of one request; more is refused with 413.
        max_requests: answered at the same time; one more is refused with 503.
        max_requests_a_key: the same of one API key; one more is refused with 429.
        body_timeout_s: for a body to come whole.
        look_up_timeout_s: for online features to be found; then it is refused with 503.
    """

    max_body_bytes: int = 4 << 20
    max_rows: int = 4096
    max_requests: int = 256
    max_requests_a_key: int = 64
    body_timeout_s: float = 10.0
    look_up_timeout_s: float = 5.0


class BusyError(HttpError):
    """There is no place for a request now.

    Attributes:
        retry_after_s: when it is worth trying again.
    """

    retry_after_s = 1


class Places:
    """Counts the requests that are being answered, by who asks; used by one thread."""

    def __init__(self, limits: Limits) -> None:
        """Begin with none."""
        self._max = limits.max_requests
        self._max_a_key = limits.max_requests_a_key
        self._by_key: dict[str, int] = {}
        self.taken = 0

    def take(self, key: str) -> None:
        """Take a place for a request of a key; the empty key is everybody's, and has all places.

        Raises:
            BusyError: there is none.
        """
        own = self._by_key.get(key, 0)
        if key and own >= self._max_a_key:
            raise BusyError(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"{own} requests of this key are being answered, as many as it may have at once; try again later",
            )
        if self.taken >= self._max:
            raise BusyError(
                HTTPStatus.SERVICE_UNAVAILABLE, f"{self.taken} requests are being answered already; try again later"
            )
        self.taken += 1
        self._by_key[key] = own + 1

    def give_back(self, key: str) -> None:
        """Give a place back."""
        self.taken -= 1
        self._by_key[key] -= 1
