"""Score a checkpoint on fixed test mixtures: python scripts/test.py --ckpt path"""

import sys

from vaebss.scoring import main

if __name__ == "__main__":
    sys.exit(main())
