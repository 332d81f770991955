"""The kinds of data sources, one file each; every file here is found by itself."""
