"""The kinds of tables, one file each; every file here is found by itself."""
