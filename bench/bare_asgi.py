"""The least that an ASGI server can do: one prepared answer to every request, from memory.

`python -m bench.bare_asgi <port> <file>` sends the answer that the file holds (status, header, body), on the hub's
server: uvicorn with uvloop and httptools.
"""

import json
import sys
from base64 import b64decode
from pathlib import Path
from typing import Any

import uvicorn


def bare_app(status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> Any:
    """An application that sends these bytes."""
    start = {"type": "http.response.start", "status": status, "headers": headers}
    content = {"type": "http.response.body", "body": body}

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send(start)
        await send(content)

    return app


if __name__ == "__main__":
    answer = json.loads(Path(sys.argv[2]).read_text())
    fields = [(name.encode(), value.encode()) for name, value in answer["headers"]]
    uvicorn.run(
        bare_app(answer["status"], fields, b64decode(answer["body"])),
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
    )
