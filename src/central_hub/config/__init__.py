"""The documents: what may be stored, how it is stored, and how it is read."""
