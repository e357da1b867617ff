"""The pilot service: historical bars from a REST API into SQLite, every operational key taken live from the hub."""
