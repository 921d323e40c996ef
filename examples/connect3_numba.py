"""The game of `connect3_gym.py` as kernels that step thousands of games at once."""

from __future__ import annotations

from muzero_wm.envs.boards import (
    DRAWN,
    IN_PLAY,
    LEGAL,
    OBSERVE,
    PLIES,
    RESET,
    STATUS,
    STEP,
    WON,
    BoardGame,
    kernel,
    mirror_symmetries,
)

# Bit 5x + h of a set of stones is column x at height h; bit 5x + 4 stays empty, so that no line runs around the edge.
MINE, THEIRS = 2, 3


@kernel(RESET)
def reset(row):
    """Empties the board."""
    row[:] = 0


@kernel(STEP)
def step(row, action):
    """Drops a stone of the player to move and passes the turn."""
    # Adding the bottom bit of a column carries through its stones to the lowest free cell.
    free_cell = ((row[MINE] | row[THEIRS]) + (1 << (5 * action))) & (0b1111 << (5 * action))
    stones = row[MINE] | free_cell
    row[MINE] = row[THEIRS]
    row[THEIRS] = stones
    row[PLIES] += 1
    row[STATUS] = DRAWN if row[PLIES] == 16 else IN_PLAY
    for direction in (1, 5, 4, 6):
        if stones & (stones >> direction) & (stones >> (2 * direction)):
            row[STATUS] = WON


@kernel(LEGAL)
def legal(row, out):
    """Allows the columns whose top cell is free."""
    for column in range(4):
        out[column] = ((row[MINE] | row[THEIRS]) >> (5 * column + 3)) & 1 == 0


@kernel(OBSERVE)
def observe(row, out):
    """Draws stones of the player to move, stones of the opponent, free cells; the top row first."""
    for column in range(4):
        for height in range(4):
            mine, theirs = (row[MINE] >> (5 * column + height)) & 1, (row[THEIRS] >> (5 * column + height)) & 1
            out[0, 3 - height, column] = mine
            out[1, 3 - height, column] = theirs
            out[2, 3 - height, column] = 1 - mine - theirs


GAME = BoardGame(
    name="connect3_numba:make",
    height=4,
    width=4,
    num_actions=4,
    state_width=4,
    max_plies=16,
    symmetries=mirror_symmetries(4, 4),
    reset=reset,
    step=step,
    legal=legal,
    observe=observe,
)


def make() -> BoardGame:
    """Returns the rules; the agent plays any number of games by them."""
    return GAME
