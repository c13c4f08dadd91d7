"""Train a separator on mixtures alone: python scripts/fit.py --gpus 1"""

import sys

from vaebss.commands.terminal import start

if __name__ == "__main__":
    sys.exit(start("fit"))
