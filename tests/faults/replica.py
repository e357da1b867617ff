"""A hub as a child process, which can be told to break itself at a chosen point of a write.

The points are reached by replacing functions of the hub in this process: the product has no hooks for it.
"""

import asyncio
import os
import random
import signal
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection

from central_hub import alert_sources, process
from central_hub.config import store
from central_hub.config.announcer import Announcer
from central_hub.config.tail import Tail
from central_hub.monitoring import alerting
from central_hub.monitoring.alerts import Decision
from central_hub.monitoring.channels.webhook import WebhookChannel
from central_hub.monitoring.notifier import Notifier
from central_hub.service import CentralHubService
from central_hub.settings import HubSettings


def run(settings: HubSettings, log: Path, parent: int, failpoint: str) -> None:
    """Serve until killed, or until the process that wanted this hub has ended."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    if failpoint:
        name, *arguments = failpoint.split(":")
        getattr(sys.modules[__name__], name)(*arguments)
    process.run(process.run_on_own_servers(settings, _ready))


async def _ready(_hub: CentralHubService, _url: str) -> None:
    return


def _end_with(parent: int) -> None:
    while True:
        time.sleep(1)
        try:
            os.kill(parent, 0)
        except ProcessLookupError:
            os._exit(3)


def die_before_announcing() -> None:
    """The change is committed, and nobody has been told."""

    async def die(*_: Any) -> bool:
        os._exit(9)

    Announcer.announced = die  # type: ignore[method-assign]


def die_before_committing() -> None:
    """Everything is written, and the commit is never sent."""
    save = store.configs.save

    async def save_and_die(*arguments: Any, **named: Any) -> Any:
        await save(*arguments, **named)
        os._exit(9)

    store.configs.save = save_and_die


def lag_behind() -> None:
    """The log is followed late, and at times later than a reader is made to wait."""
    catch_up = Tail.catch_up

    async def catch_up_late(tail: Tail) -> None:
        await asyncio.sleep(random.choice([0, 0.1, 0.5, 3]))
        await catch_up(tail)

    Tail.catch_up = catch_up_late  # type: ignore[method-assign]


def freeze_with_the_lock() -> None:
    """The commit lock is held by a process that neither goes on nor ends: once."""
    lock = store.configs.lock

    async def lock_and_freeze(connection: Any) -> None:
        await lock(connection)
        store.configs.lock = lock
        os.kill(os.getpid(), signal.SIGSTOP)

    store.configs.lock = lock_and_freeze


def die_at_step(number: str) -> None:
    """The process ends before the so-manieth thing that a commit asks of the database, its end included."""
    left = int(number)
    holder: sa.Connection | None = None
    commit_in = store.ConfigStore._commit_in

    async def commit_and_count(self: store.ConfigStore, connection: AsyncConnection, turns: Any) -> Any:
        nonlocal holder
        holder = connection.sync_connection
        return await commit_in(self, connection, turns)

    def count(connection: sa.Connection, *_: Any) -> None:
        nonlocal left
        if connection is holder:
            left -= 1
            if left == 0:
                os._exit(9)

    store.ConfigStore._commit_in = commit_and_count  # type: ignore[method-assign]
    event.listen(sa.Engine, "before_cursor_execute", count)
    event.listen(sa.Engine, "commit", count)


def alert_quickly(point: str = "") -> None:
    """Alerts are evaluated five times a second under a lease of two seconds, and what is sent is claimed for six; at a
    point of the first transition that is told, or of its delivery, the process ends or stops."""
    alerting.LOOK_SECONDS, alerting.RENEW_SECONDS, alerting.LEASE = 0.2, 0.5, timedelta(seconds=2)
    alert_sources.FLEET_SECONDS = 0.2
    Notifier.__init__.__kwdefaults__["claim_seconds"] = 6.0
    send = WebhookChannel.send
    save, add, decided = alerting.alerts.save, alerting.notifications.add, CentralHubService._decided

    async def save_or_die(connection: Any, changed: Any, dropped: Any) -> None:
        if point == "before_saving" and any(alert.is_told for alert in changed):
            os.kill(os.getpid(), signal.SIGKILL)
        await save(connection, changed, dropped)

    async def add_and_die(connection: Any, new: Any) -> None:
        await add(connection, new)
        if point in ("before_committing", "freezing") and new:
            alerting.notifications.add = add
            os.kill(os.getpid(), signal.SIGSTOP if point == "freezing" else signal.SIGKILL)

    def decide_and_die(self: CentralHubService, decision: Decision) -> None:
        if point == "after_committing" and decision.told:
            os.kill(os.getpid(), signal.SIGKILL)
        decided(self, decision)

    async def send_and_die(self: WebhookChannel, notification: Any) -> None:
        await send(self, notification)
        if point == "after_sending":
            os.kill(os.getpid(), signal.SIGKILL)

    async def send_nothing(_: Notifier) -> None:
        return

    WebhookChannel.send = send_and_die  # type: ignore[method-assign]
    if point == "not_sending":
        Notifier._begin_due = send_nothing  # type: ignore[method-assign]
    alerting.alerts.save = save_or_die
    alerting.notifications.add = add_and_die
    CentralHubService._decided = decide_and_die  # type: ignore[method-assign]
