"""Train and score every method of the paper's Table II, or III: python scripts/compare.py"""

import sys

from vaebss.commands.terminal import start

if __name__ == "__main__":
    sys.exit(start("compare"))
