"""The fleet: which instances there are, what they run, and how far a change has got."""
