"""All SQL of the hub. Functions take a connection; the caller owns the transaction."""
