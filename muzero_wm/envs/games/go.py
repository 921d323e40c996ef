"""Go: area counts, no position comes twice (positional superko), suicide is not allowed, two passes end the game.

Action a is cell a, row by row from the top left; the last one is the pass. Every stone on the board is alive when it is
counted. A game is counted as it stands after 2·board_size² moves. A komi that is a whole number can be a draw.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from functools import cache

import numpy as np
from numba import njit, types

from muzero_wm.envs.boards.board import BoardGame
from muzero_wm.envs.boards.kernels import (
    DRAWN,
    IN_PLAY,
    LEGAL,
    LOST,
    OBSERVE,
    PLIES,
    RESET,
    ROW,
    STATUS,
    STEP,
    WON,
    compiled,
    kernel,
)
from muzero_wm.envs.boards.options import Option, Options
from muzero_wm.envs.boards.symmetries import square_symmetries

OPTIONS: Options = {
    "board_size": Option(9, "lines", low=3, high=19),
    "komi": Option(7.0, "points for the second player", low=-100, high=100, step=0.5),
}
PLANES = (
    "stones of the player to move",
    "stones of the opponent",
    "stones of the player to move before the opponent's move",
    "stones of the opponent before that move",
    "free points where the player to move may not play",
    "1 everywhere where the second player is to move, who has the komi",
    "1 everywhere where the opponent has just passed",
)

# A row: whether the last move passed, twice the komi, the number of positions so far. Then boards, one entry a line in
# which bit x is column x: the stones of both players, those before the last move, the points that ever had a stone, and
# those that may be played now. Then a hash of every position: 64 bits, so that two of a game have the same by chance
# once in 10^15 games.
PASSED, KOMI, POSITIONS, STONES = 2, 3, 4, 5


@njit
def _mix(stone):
    """Returns 64 random bits for a stone (splitmix64; Steele et al., OOPSLA 2014)."""
    x = types.uint64(stone + 1) * types.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> types.uint64(30))) * types.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> types.uint64(27))) * types.uint64(0x94D049BB133111EB)
    return types.int64(x ^ (x >> types.uint64(31)))


@njit
def _count(line):
    count = 0
    while line:
        line &= line - 1
        count += 1
    return count


@njit
def _near(lines, i, size):
    """Returns which points of line i are next to those of a board of lines."""
    near = (lines[i] << 1) | (lines[i] >> 1)
    if i > 0:
        near |= lines[i - 1]
    if i < size - 1:
        near |= lines[i + 1]
    return near & ((1 << size) - 1)


@njit
def _grow(group, within, size):
    """Fills in all that the points of a board reach over points of another."""
    growing = True
    while growing:
        growing = False
        for turn in range(2 * size):  # down the board and up again
            i = turn if turn < size else 2 * size - 1 - turn
            line = (group[i] | _near(group, i, size)) & within[i]
            while line != group[i]:
                growing = True
                group[i] = line
                line = (line | (line << 1) | (line >> 1)) & within[i]


@njit
def _widen(group, stones, i, size):
    """Lets a chain grow into one line, and returns whether it did."""
    line = (group[i] | _near(group, i, size)) & stones[i]
    if line == group[i]:
        return False
    while line != group[i]:
        group[i] = line
        line = (line | (line << 1) | (line >> 1)) & stones[i]
    return True


@njit
def _chain(stones, y, x, size, group):
    """Fills in the chain of the stone at a point, and returns its first and last line: most chains are small."""
    group[:] = 0
    group[y] = 1 << x
    low, high = y, y
    growing = True
    while growing:
        growing = False
        i = max(low - 1, 0)
        while i < min(high + 2, size):
            if _widen(group, stones, i, size):
                growing, low, high = True, min(low, i), max(high, i)
            i += 1
        i = min(high + 1, size - 1)
        while i >= max(low - 1, 0):
            if _widen(group, stones, i, size):
                growing, low, high = True, min(low, i), max(high, i)
            i -= 1
    return low, high


@njit
def _liberties(group, low, high, mine, theirs, size):
    """Returns how many free points a chain has, 2 where it has more."""
    found = 0
    for i in range(max(low - 1, 0), min(high + 2, size)):
        free = _near(group, i, size) & ~(mine[i] | theirs[i])
        if free:
            if found or free & (free - 1):
                return 2
            found = 1
    return found


@njit
def _hash(group, low, high, seat, size):
    """Returns the hash of stones of one player."""
    total = 0
    for i in range(low, high + 1):
        for x in range(size):
            if (group[i] >> x) & 1:
                total ^= _mix(2 * (i * size + x) + seat)
    return total


@njit
def _in_atari(row, owner, y, x, size, known, group):
    """Returns whether the chain of a stone has one liberty.

    `known` [2, 2, size] holds the chains that have been looked at: of each player those with more, and those with one.
    """
    if not ((known[owner, 0, y] | known[owner, 1, y]) >> x) & 1:
        stones = row[STONES + size * owner : STONES + size * (owner + 1)]
        others = row[STONES + size * (1 - owner) : STONES + size * (2 - owner)]
        low, high = _chain(stones, y, x, size, group)
        one = 1 if _liberties(group, low, high, stones, others, size) == 1 else 0
        for i in range(low, high + 1):
            known[owner, one, i] |= group[i]
    return (known[owner, 1, y] >> x) & 1 == 1


@njit
def _repeats(row, seat, y, x, size, positions, history, known, group):
    """Returns whether a stone at a free point brings an earlier position back."""
    theirs = row[STONES + size * (1 - seat) : STONES + size * (2 - seat)]
    taken = np.zeros(size, np.int64)
    after = row[history + positions - 1] ^ _mix(2 * (y * size + x) + seat)
    for side in range(4):
        ny, nx = y + (side == 0) - (side == 1), x + (side == 2) - (side == 3)
        if not (0 <= ny < size and 0 <= nx < size) or not ((theirs[ny] & ~taken[ny]) >> nx) & 1:
            continue
        if _in_atari(row, 1 - seat, ny, nx, size, known, group):
            low, high = _chain(theirs, ny, nx, size, group)
            after ^= _hash(group, low, high, 1 - seat, size)
            for i in range(low, high + 1):
                taken[i] |= group[i]
    return (row[history : history + positions] == after).any()


@njit
def _is_suicide(row, seat, y, x, size, known, group):
    """Returns whether a stone at a free point would have no liberty, and take nothing that gives it one."""
    for side in range(4):
        ny, nx = y + (side == 0) - (side == 1), x + (side == 2) - (side == 3)
        if not (0 <= ny < size and 0 <= nx < size):
            continue
        if (row[STONES + size * seat + ny] >> nx) & 1:
            if not _in_atari(row, seat, ny, nx, size, known, group):
                return False
        elif not (row[STONES + size * (1 - seat) + ny] >> nx) & 1 or _in_atari(
            row, 1 - seat, ny, nx, size, known, group
        ):
            return False
    return True


@compiled(types.void(ROW, types.int64, types.int64, types.int64))
def _find_legal(row, size, positions, history):
    """Writes into the row which points may be played."""
    lines = row[STONES + 5 * size : STONES + 6 * size]
    seat = row[PLIES] & 1
    known = np.zeros((2, 2, size), np.int64)
    group = np.empty(size, np.int64)
    free = np.empty(size, np.int64)
    for i in range(size):
        free[i] = ~(row[STONES + i] | row[STONES + size + i]) & ((1 << size) - 1)
    for y in range(size):
        lines[y] = free[y]
        closed, again = free[y] & ~_near(free, y, size), row[STONES + 4 * size + y]
        doubtful = free[y] & (closed | again)  # where no position has had a stone, none comes again
        for x in range(size if doubtful else 0):
            if not (doubtful >> x) & 1:
                continue
            forbidden = (closed >> x) & 1 and _is_suicide(row, seat, y, x, size, known, group)
            if not forbidden and (again >> x) & 1:
                forbidden = _repeats(row, seat, y, x, size, positions, history, known, group)
            if forbidden:
                lines[y] ^= 1 << x


@compiled(types.int64(ROW, types.int64))
def _area(row, size):
    """Returns how many points more are the first player's than the second's: stones, and what only they reach."""
    ahead = 0
    reached = np.zeros((2, size), np.int64)
    free = np.empty(size, np.int64)
    for i in range(size):
        free[i] = ~(row[STONES + i] | row[STONES + size + i]) & ((1 << size) - 1)
    for seat in range(2):
        stones = row[STONES + size * seat : STONES + size * (seat + 1)]
        for i in range(size):
            ahead += _count(stones[i]) * (1 - 2 * seat)
            reached[seat, i] = _near(stones, i, size) & free[i]
        _grow(reached[seat], free, size)
    for i in range(size):
        ahead += _count(reached[0, i] & ~reached[1, i]) - _count(reached[1, i] & ~reached[0, i])
    return ahead


@compiled(types.void(ROW, types.int64, types.int64, types.int64, types.int64))
def _play(row, point, size, positions, history):
    """Sets a stone, takes chains without liberties off the board and writes down the position."""
    seat = row[PLIES] & 1
    mine = row[STONES + size * seat : STONES + size * (seat + 1)]
    theirs = row[STONES + size * (1 - seat) : STONES + size * (2 - seat)]
    group = np.empty(size, np.int64)
    y, x = point // size, point % size
    mine[y] |= 1 << x
    row[STONES + 4 * size + y] |= 1 << x
    after = _mix(2 * point + seat)
    for side in range(4):
        ny, nx = y + (side == 0) - (side == 1), x + (side == 2) - (side == 3)
        if 0 <= ny < size and 0 <= nx < size and (theirs[ny] >> nx) & 1:
            low, high = _chain(theirs, ny, nx, size, group)
            if _liberties(group, low, high, mine, theirs, size) == 0:
                after ^= _hash(group, low, high, 1 - seat, size)
                for i in range(size):
                    theirs[i] &= ~group[i]
    row[history + positions] = row[history + positions - 1] ^ after


@cache
def make(board_size: int, komi: float) -> BoardGame:
    """Returns the rules for a size and a komi.

    Args:
        board_size: 3 to 19.
        komi: points for the second player, in halves.
    """
    size, points, most = board_size, board_size**2, 2 * board_size**2
    history = STONES + 6 * size
    twice_komi = round(2 * komi)

    @kernel(RESET)
    def reset(row):
        """Empties the board, which is the first position."""
        row[:] = 0
        row[KOMI] = twice_komi
        row[POSITIONS] = 1
        row[STONES + 5 * size : history] = (1 << size) - 1

    return BoardGame(
        name="go",
        height=size,
        width=size,
        num_actions=points + 1,
        state_width=history + most + 1,
        max_plies=most,
        symmetries=square_symmetries(size, points + 1),
        reset=reset,
        **_kernels(size),
        planes=PLANES,
        passing=points,
    )


@cache
def _kernels(size: int) -> dict[str, object]:
    """Returns what a komi, which stands in the row, does not change."""
    points, most, history = size**2, 2 * size**2, STONES + 6 * size

    @kernel(STEP)
    def step(row, action):
        """Sets a stone or passes; counts after the second pass, or after as many moves as a game may have."""
        positions = min(max(row[POSITIONS], 1), most)
        passed, over = row[PASSED], False
        row[STONES + 2 * size : STONES + 4 * size] = row[STONES : STONES + 2 * size]
        if action < points:
            _play(row, action, size, positions, history)
            positions += 1
            row[POSITIONS], row[PASSED] = positions, 0
        else:
            over = passed == 1
            row[PASSED] = 1
        row[PLIES] += 1
        row[STATUS] = IN_PLAY
        _find_legal(row, size, positions, history)
        if over or row[PLIES] >= most:
            ahead = 2 * _area(row, size) - row[KOMI]
            if row[PLIES] & 1 == 0:  # the second player moved last
                ahead = -ahead
            row[STATUS] = WON if ahead > 0 else (LOST if ahead < 0 else DRAWN)

    @kernel(LEGAL)
    def legal(row, out):
        """Allows free points where the stone stays and no position comes again, and the pass."""
        for y in range(size):
            for x in range(size):
                out[size * y + x] = (row[STONES + 5 * size + y] >> x) & 1 == 1
        out[points] = True

    @kernel(OBSERVE)
    def observe(row, out):
        """Draws `PLANES`."""
        seat, passed = row[PLIES] & 1, row[PASSED] & 1
        for y in range(size):
            for x in range(size):
                for board in range(2):
                    for owner in range(2):
                        stones = row[STONES + size * (2 * board + owner) + y]
                        out[2 * board + (owner ^ seat), y, x] = (stones >> x) & 1
                out[4, y, x] = 1 - out[0, y, x] - out[1, y, x] - ((row[STONES + 5 * size + y] >> x) & 1)
                out[5, y, x] = seat
                out[6, y, x] = passed

    return {"step": step, "legal": legal, "observe": observe}
