from __future__ import annotations

import json
import logging
import sys

from service.observability.logs import JsonFormatter


def record(message: str, **extra: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "foldnorm", "levelname": "INFO", "msg": message})
    made.__dict__.update(extra)
    return made


def test_a_record_is_one_line_of_json_with_its_fields() -> None:
    line = JsonFormatter().format(record("two\nlines", fields={"threads": 2}))
    assert "\n" not in line
    table = json.loads(line)
    assert table.pop("time").endswith("+00:00")
    assert table == {"level": "info", "logger": "foldnorm", "message": "two\nlines", "threads": 2}


def test_an_exception_stays_on_the_line() -> None:
    try:
        raise ZeroDivisionError("by zero")
    except ZeroDivisionError:
        line = JsonFormatter().format(record("failed", exc_info=sys.exc_info()))
    assert "ZeroDivisionError: by zero" in json.loads(line)["exception"]


def test_half_a_surrogate_pair_can_be_logged() -> None:
    line = JsonFormatter().format(record("path", fields={"path": "\ud800"}))
    assert line.isascii()
