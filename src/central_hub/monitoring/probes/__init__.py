"""One probe of a component: what kind it is, what it asks, and what it found. Start reading in `asking.py`."""
