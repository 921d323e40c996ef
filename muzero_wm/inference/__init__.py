"""How a network is evaluated in a search: snapshots of it, ways to evaluate it, and which is the fastest here."""
