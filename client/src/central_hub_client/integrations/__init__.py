"""Glue for what a service already uses. Each module needs its library, and nothing else of the client needs that."""
