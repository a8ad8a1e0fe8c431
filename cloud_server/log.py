"""The log: one JSON object a line on stderr, so that people and collectors read the same."""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timezone

# What every record has; anything else was given as `extra` and belongs to the event.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Format a record as {"time", "level", "event", ...its extra facts}."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line without its end."""
        entry = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **{key: value for key, value in vars(record).items() if key not in _STANDARD},
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def start_logging(level: str) -> None:
    """Send the log to stderr, from the given severity on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
