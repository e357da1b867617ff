"""Keeps a server running: one that was killed is started again, as it was, until it is told to stop."""

import asyncio
from typing import Final

import structlog

from central_hub.embedded.process import Program, ServerProcess, bound_log
from central_hub.errors import StartupRefused

FIRST_DELAY_SECONDS: Final = 0.1
LONGEST_DELAY_SECONDS: Final = 5.0
_LOG_CHECK_SECONDS: Final = 60.0

log = structlog.get_logger()


class Supervisor:
    """Takes over a server that answers. Made by `supervise`."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._task = asyncio.create_task(self._keep_running(), name=f"supervise-{server.program.name}")

    @property
    def pid(self) -> int:
        return self._server.pid

    async def stop(self) -> None:
        """End the server, and return when it has ended."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._server.end()
        if self._server.ended.result() < 0:
            # Killed, it could not end its children.
            await self._server.program.end_leftovers()
        log.info("server_stopped", server=self._server.program.name)

    async def _keep_running(self) -> None:
        program = self._server.program
        while True:
            try:
                await self._wait_for_end()
                status = self._server.ended.result()
                log.warning("server_ended", server=program.name, status=status, last_words=self._server.last_words())
                await self._start_again()
                log.warning("server_restarted", server=program.name, pid=self._server.pid)
            except Exception:  # a server must not stay dead because, say, its log could not be read
                log.exception("supervision_failed", server=program.name)
                await asyncio.sleep(LONGEST_DELAY_SECONDS)

    async def _wait_for_end(self) -> None:
        program = self._server.program
        while not self._server.ended.done():
            await asyncio.wait({self._server.ended}, timeout=_LOG_CHECK_SECONDS)
            await asyncio.to_thread(bound_log, program.log_path)

    async def _start_again(self) -> None:
        program = self._server.program
        delay = FIRST_DELAY_SECONDS
        while True:
            await asyncio.sleep(delay)
            delay = min(2 * delay, LONGEST_DELAY_SECONDS)
            try:
                await program.end_leftovers()
                self._server = ServerProcess(program)
                await self._server.wait_until_ready()
                return
            except (StartupRefused, OSError) as error:
                log.error("server_restart_failed", server=program.name, reason=str(error), retry_in_seconds=delay)
                await self._server.end()


async def supervise(program: Program) -> Supervisor:
    """Start a server and keep it running. Raises StartupRefused when it does not come to answer."""
    server = ServerProcess(program)
    try:
        await server.wait_until_ready()
    except BaseException:
        await server.end()
        raise
    log.info("server_started", server=program.name, pid=server.pid)
    return Supervisor(server)
