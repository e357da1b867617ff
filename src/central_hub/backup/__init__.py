"""Everything that a hub knows in one file, and back into an empty database. Start reading in `archive.py`."""
