"""Score a checkpoint on fixed test mixtures: python scripts/test.py --ckpt path"""

import sys

from vaebss.commands.terminal import start

if __name__ == "__main__":
    sys.exit(start("test"))
