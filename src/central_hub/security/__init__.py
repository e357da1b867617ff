"""Who may do what, and what the hub signs."""
