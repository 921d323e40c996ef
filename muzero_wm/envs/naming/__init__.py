"""How an environment is named, what was meant by a name, and what goes along with one to another process."""
