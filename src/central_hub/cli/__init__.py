"""The command line. Each module registers the commands that it holds; `session` is what they have in common."""

from central_hub.cli.program import main

__all__ = ["main"]
