"""A run while it trains: what it logs and shows."""
