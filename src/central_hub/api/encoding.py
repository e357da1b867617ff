"""Answers as JSON."""

import json
from typing import Any

import orjson


def encode(value: Any) -> bytes:
    """The value as JSON. Schemas may contain integers of any size, which the fast encoder refuses."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
