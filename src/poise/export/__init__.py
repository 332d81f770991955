"""A trained network, handed to the world outside: one format, one file."""
