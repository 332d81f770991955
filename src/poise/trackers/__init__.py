"""Tools that people watch their runs in; one tool, one file."""
