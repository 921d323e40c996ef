"""One file of Numba kernels for each game, with `OPTIONS` and `make`; the registry finds the files by their names."""
