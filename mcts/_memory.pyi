"""Types of the memory of searches."""

MAX_KEPT_BYTES: int

class Block:
    nbytes: int

def take(num_bytes: int) -> Block: ...
def release() -> None: ...
def kept() -> int: ...
