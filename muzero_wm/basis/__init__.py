"""What every room stands on: errors, seeds, signals, processes, compiling, allocation. It knows none of the rooms."""
