"""Train a separator on mixtures alone: python scripts/fit.py --gpus 1"""

import sys

from vaebss.commands.fit import main

if __name__ == "__main__":
    sys.exit(main())
