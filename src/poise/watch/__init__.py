"""A folder of runs in a browser of this machine: a list, every run's page, several runs beside each other."""
