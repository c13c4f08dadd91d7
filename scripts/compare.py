"""Train and score every method of the paper's Table II, or III: python scripts/compare.py"""

import sys

from vaebss.commands.compare import main

if __name__ == "__main__":
    sys.exit(main())
