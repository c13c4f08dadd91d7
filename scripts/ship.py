"""Put a trained model into the package: python scripts/ship.py --ckpt path --name vae-k2 --command "..." """

import sys

from vaebss.commands.terminal import start

if __name__ == "__main__":
    sys.exit(start("ship"))
