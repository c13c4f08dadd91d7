"""Train a separator on mixtures alone: python scripts/fit.py --gpus 1"""

import sys

from vaebss.commands.train import fit

if __name__ == "__main__":
    sys.exit(fit())
