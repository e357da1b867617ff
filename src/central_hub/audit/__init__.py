"""The audit chain: what makes a rewritten history noticeable."""
