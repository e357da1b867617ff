"""Whether the end of this process can be told from a crash, and the signals by which it is told to end."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final

NOTE_SECONDS: Final = 1.0

_SIGNALS: Final = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
_was_forked = False


def listen(on_end: Callable[[], None]) -> bool:
    """Have `on_end` called before a signal ends the process where it would do so at once, then let it do so.

    Signals that the service handles itself stay as they are. False where an end in good order cannot be told from a
    crash: in threads other than the first, which may not listen, and in forked workers, which leave by `os._exit`.
    """
    if _was_forked or _is_worker():
        return False
    unheard = [number for number in _SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    if unheard and threading.current_thread() is not threading.main_thread():
        return False

    def end(number: int, _: FrameType | None) -> None:
        # In a thread: what was interrupted here may hold the lock that is needed, and a disk may hang.
        noting = threading.Thread(target=on_end, daemon=True)
        noting.start()
        noting.join(NOTE_SECONDS)
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    try:
        for number in unheard:
            signal.signal(number, end)
    except ValueError:  # the first thread of an interpreter within another
        return False
    return True


def is_by_error() -> bool:
    """Whether the interpreter ends for an exception that nobody caught."""
    error = getattr(sys, "last_value", None)
    if not isinstance(error, Exception) or error.__traceback__ is None or hasattr(sys, "ps1"):
        return False
    # Debuggers and pytest note here what they have caught themselves, somewhere above the outermost frame.
    return error.__traceback__.tb_frame.f_back is None


def _is_worker() -> bool:
    multiprocessing = sys.modules.get("multiprocessing.process")  # who has not loaded it is no worker of it
    return multiprocessing is not None and multiprocessing.parent_process() is not None


def _note_fork() -> None:
    global _was_forked
    _was_forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)
