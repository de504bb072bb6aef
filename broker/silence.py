"""When a link is tested: MQTT's keepalive as a decision over times that are passed in. No I/O."""

from typing import Final

from broker.errors import LinkError

# A broker that a whole fleet comes back to takes its time.
ANSWER_S: Final = 60.0


class Silence:
    """When the link is tested: once one side has said nothing for a time; unanswered for as long again, it is over."""

    def __init__(self, keepalive_s: int, now_s: float) -> None:
        """Begin with a link that was opened ``now_s``; 0 seconds of keepalive: it is never tested."""
        self._keepalive_s = keepalive_s
        self._began_s = self._said_s = self._heard_s = now_s
        self._is_asked = False

    def said_at(self, now_s: float) -> None:
        """Note that something was sent."""
        self._said_s = now_s

    def heard_at(self, now_s: float) -> None:
        """Note that something came: the other side is there."""
        self._heard_s = now_s
        self._is_asked = False

    def left_s(self, now_s: float, *, is_up: bool) -> float:
        """Return how long nothing need be done."""
        if not is_up:
            return max(self._began_s + ANSWER_S - now_s, 0.0)
        if self._keepalive_s == 0:
            return ANSWER_S
        return max(min(self._said_s, self._heard_s) + self._keepalive_s - now_s, 0.0)

    def wants_ping(self, now_s: float, *, is_up: bool) -> bool:
        """Tell whether the link is to be tested now.

        Raises:
            LinkError: it was, and nothing came.
        """
        if self.left_s(now_s, is_up=is_up) > 0 or (is_up and self._keepalive_s == 0):
            return False
        if not is_up or self._is_asked:
            raise LinkError("the broker does not answer")
        self._is_asked = True
        self._said_s = self._heard_s = now_s
        return True
