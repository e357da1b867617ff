"""Measures a hub against the bare technique for the same job, in one run on one machine: `make bench`."""
