"""Network and tree search joined."""
