"""Lets the tests of this folder import its helpers, whatever the folder pytest is started in."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
