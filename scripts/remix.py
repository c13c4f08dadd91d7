"""Train a mask network on a separator's own estimates, remixed: python scripts/remix.py --gpus 1"""

import sys

from vaebss.commands.terminal import start

if __name__ == "__main__":
    sys.exit(start("remix"))
