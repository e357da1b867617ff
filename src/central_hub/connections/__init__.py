"""The connections of the hub: PostgreSQL, which it needs, and NATS, which it uses when it is there."""
