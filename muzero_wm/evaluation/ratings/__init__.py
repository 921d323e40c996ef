"""An arena: a pool of players, who meets whom, and ratings with intervals."""
