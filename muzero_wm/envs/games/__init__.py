"""One file of Numba kernels for each game, ending in `GAME`; the registry finds the files by their names."""
