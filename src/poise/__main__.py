"""``python -m poise``: the command line."""

from poise.cli.main import main

main()
