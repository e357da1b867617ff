"""Documents: how they change (`store`), how every replica follows (`tail`), how they are read (`snapshot`)."""
