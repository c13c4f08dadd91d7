"""Measure how fast training and separation are, as ratios within one run: python scripts/benchmark.py"""

import sys

from vaebss.commands.terminal import start

if __name__ == "__main__":
    sys.exit(start("benchmark"))
