"""Separate your own mixtures: python scripts/separate.py mixtures/ --out separated"""

import sys

from vaebss.commands.terminal import start

if __name__ == "__main__":
    sys.exit(start("separate"))
