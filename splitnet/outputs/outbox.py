"""What waits for an MQTT broker: the latest state of every topic, and the newest events. Bounded. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import NamedTuple

MAX_EVENTS = 1000
MAX_STATES = 20_000  # topics that are retained; further ones are not told
MAX_EVENT_BYTES = 4_000_000  # of all events together


class Message(NamedTuple):
    """A message to a broker. An empty payload that is retained deletes the topic."""

    topic: str
    payload: str
    qos: int = 1
    retain: bool = False


class Outbox:
    """States are told anew on every connection, events once; of those that wait too long, the oldest are dropped."""

    def __init__(self, max_events: int = MAX_EVENTS) -> None:
        """Begin empty."""
        self._max_events = max_events
        self.dropped = 0  # events
        self._states: dict[str, str] = {}
        self._untold: OrderedDict[str, None] = OrderedDict()  # topics whose state the broker does not know
        self._events: deque[Message] = deque()
        self._event_bytes = 0

    def __len__(self) -> int:
        """Return the number of messages that wait."""
        return len(self._untold) + len(self._events)

    def state(self, topic: str, payload: str) -> None:
        """Set the state of a topic, which is told if it has changed."""
        known = self._states.get(topic)
        if known == payload or (known is None and len(self._states) >= MAX_STATES):
            return
        self._states[topic] = payload
        self._untold[topic] = None

    def event(self, topic: str, payload: str, qos: int = 1) -> None:
        """Add an event."""
        self._events.append(Message(topic, payload, qos))
        self._event_bytes += len(payload)
        while len(self._events) > self._max_events or (self._event_bytes > MAX_EVENT_BYTES and len(self._events) > 1):
            self._event_bytes -= len(self._events.popleft().payload)
            self.dropped += 1

    def connected(self) -> None:
        """Tell every state again: the broker may have forgotten, and others may have been told otherwise."""
        self._untold = OrderedDict.fromkeys(self._states)

    def remembered(self, topic: str, payload: str, fallback: str) -> None:
        """Learn what a broker has retained of an earlier run; it is put right. fallback: where nothing is known."""
        if topic not in self._states:
            if len(self._states) >= MAX_STATES:
                return
            self._states[topic] = fallback
        if payload != self._states[topic]:
            self._untold[topic] = None

    def next(self) -> Message | None:
        """Return what is to be told next, states first; it waits until `told`."""
        if self._untold:
            topic = next(iter(self._untold))
            return Message(topic, self._states[topic], retain=True)
        return self._events[0] if self._events else None

    def told(self, message: Message) -> None:
        """Forget a message that the broker has taken. A state that has changed meanwhile is told again."""
        if message.retain:
            if self._states.get(message.topic) == message.payload:
                self._untold.pop(message.topic, None)
        elif self._events and self._events[0] is message:
            self._event_bytes -= len(self._events.popleft().payload)
