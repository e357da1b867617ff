"""The demonstration: `python -m examples.demonstration`, or `make demo`."""
