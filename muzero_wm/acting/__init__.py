"""Acting: the planner that joins network and tree search, and batched self-play."""
