"""What is known of one connection, kept up to date by whoever uses it. Health is read from here."""

from datetime import UTC, datetime


class Link:
    """Whether a connection works, and if not, why; and since when that has been so."""

    def __init__(self, name: str, *, is_needed: bool) -> None:
        """`is_needed` where the hub cannot do without it. At first nothing has been reached, and nothing has failed."""
        self.name = name
        self.is_needed = is_needed
        self.ok: bool | None = False
        """None where it is off: nobody wants it, and nothing is wrong."""
        self.reason = "not reached yet"
        self.since = datetime.now(UTC)
        self._is_told = False

    def works(self) -> None:
        """It was just used with success."""
        self._tell(True, "")

    def fails(self, reason: str) -> bool:
        """It was just tried in vain. True where that is news: it worked before, or was tried for the first time."""
        return self._tell(False, reason)

    def turn_off(self, reason: str) -> None:
        """It is not used at all: `reason` says what is done without it."""
        self._tell(None, reason)

    def _tell(self, ok: bool | None, reason: str) -> bool:
        is_news = not self._is_told or self.ok is not ok
        if is_news:
            self.since = datetime.now(UTC)
        self.ok, self.reason, self._is_told = ok, reason, True
        return is_news
