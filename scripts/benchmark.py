"""Measure how fast training and separation are, as ratios within one run: python scripts/benchmark.py"""

import sys

from vaebss.commands.benchmark import main

if __name__ == "__main__":
    sys.exit(main())
