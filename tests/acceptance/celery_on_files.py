"""A broker for Celery that is a folder, and who sends tasks into it."""

import threading
from pathlib import Path
from typing import Any

from celery import Celery

SETTINGS = """
broker_url = "filesystem://"
broker_transport_options = {{
    "data_folder_in": "{directory}/{queue}",
    "data_folder_out": "{directory}/{queue}",
    "control_folder": "{directory}/{queue}-control",
    "polling_interval": 0.05,
}}
result_backend = "file://{directory}/results"
broker_connection_retry_on_startup = True
"""
WITHIN_SECONDS = 60.0


class Sender:
    """Sends tasks to a worker that runs in `directory` with the settings written there, and waits for the results."""

    def __init__(self, directory: Path) -> None:
        self._queue, self._outbox = directory / "queue", directory / "outbox"
        for name in ("queue", "queue-control", "outbox", "outbox-control", "results"):
            (directory / name).mkdir()
        (directory / "celeryconfig.py").write_text(SETTINGS.format(directory=directory, queue="queue"))
        names: dict[str, Any] = {}
        exec(SETTINGS.format(directory=directory, queue="outbox"), names)  # noqa: S102 - as a worker reads them
        self._app = Celery("sender")
        self._app.conf.update({name: value for name, value in names.items() if not name.startswith("_")})
        self._one_at_a_time = threading.Lock()

    def call(self, task: str, *arguments: Any) -> Any:
        """The result of a task. Blocks."""
        with self._one_at_a_time:
            sent = self._app.send_task(task, arguments)
            # The transport writes a message in place, where a worker may find it while it is still empty. So it is
            # written where nobody looks, and moved as one.
            for message in self._outbox.iterdir():
                message.rename(self._queue / message.name)
        return sent.get(timeout=WITHIN_SECONDS, interval=0.02)
