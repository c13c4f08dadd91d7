"""Take your own mixtures apart: python scripts/separate.py mixtures/ --out separated"""

import sys

from vaebss.commands.separate import main

if __name__ == "__main__":
    sys.exit(main())
