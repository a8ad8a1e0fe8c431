"""Lines of a log as JSON objects, for people and collectors: bounded, printable, and without passwords."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone

from splitnet.text import printable, without_secrets

MAX_TRACEBACK_CHARS = 20_000

# What every record has; anything else was given as `extra` and belongs to the event.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Format a record as {"time", "level", "event", ...its extra facts}."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line without its end. Texts are bounded, printable and without passwords."""
        facts = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        entry = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": _shown(record.getMessage()),
            **{key: _shown(value) if isinstance(value, str) else value for key, value in facts.items()},
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)[-MAX_TRACEBACK_CHARS:]
        return json.dumps(entry, default=str)


def _shown(text: str) -> str:
    return printable(without_secrets(text))
