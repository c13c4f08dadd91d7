"""Train a mask network on a separator's own estimates, remixed: python scripts/remix.py --gpus 1"""

import sys

from vaebss.commands.train import remix

if __name__ == "__main__":
    sys.exit(remix())
