"""How genotypes are written elsewhere: one notation, one file, which reads and writes it."""
