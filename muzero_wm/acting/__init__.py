"""Acting: batched self-play, in this process or in one of its own."""
