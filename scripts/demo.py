"""A page in the browser on which digits and notes overlap and come apart: python scripts/demo.py"""

import sys

from vaebss.commands.terminal import start

if __name__ == "__main__":
    sys.exit(start("demo"))
