"""The ways in which the hub tells of alerts."""
