"""Where a hub keeps its files unless it is told otherwise. Loads nothing heavy: every run of the command line asks."""

import os
from pathlib import Path


def default_data_dir() -> Path:
    """`/var/lib/central-hub` as root, the platform's user data directory otherwise."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/central-hub")
    import platformdirs

    return Path(platformdirs.user_data_dir("central-hub", appauthor=False))
