"""Logs as one JSON object per line on standard output."""

from __future__ import annotations

import json
import logging.config
from datetime import UTC, datetime


class JsonFormatter(logging.Formatter):
    """Writes time, level, logger and message, then the record's own `fields`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of ASCII."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure_logging(level: str) -> None:
    """Send everything through one JSON handler, the HTTP server's loggers included.

    The server's own access lines are off: the application writes better ones. Python's warnings,
    such as Pillow's of an image's size, become log lines too.
    """
    logging.captureWarnings(True)
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"json": {"()": JsonFormatter}},
            "handlers": {
                "stdout": {
                    "class": "logging.StreamHandler",
                    "stream": "ext://sys.stdout",
                    "formatter": "json",
                }
            },
            "root": {"handlers": ["stdout"], "level": level.upper()},
            "loggers": {
                "uvicorn": {"handlers": [], "level": level.upper(), "propagate": True},
                "uvicorn.error": {"handlers": [], "level": "WARNING", "propagate": True},
                "python_multipart": {"level": "ERROR"},  # any caller can make it warn, per byte
                "uvicorn.access": {"handlers": [], "level": "CRITICAL", "propagate": False},
            },
        }
    )
