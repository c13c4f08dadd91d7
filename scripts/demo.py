"""A page to see digits overlap and come apart: python scripts/demo.py"""

import sys

from vaebss.commands.demo import main

if __name__ == "__main__":
    sys.exit(main())
