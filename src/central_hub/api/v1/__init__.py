"""The routes of version 1 of the interface."""
