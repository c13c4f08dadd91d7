"""Turn a model into an ONNX file, to run without PyTorch: python scripts/export.py --ckpt path --out model.onnx"""

import sys

from vaebss.commands.terminal import start

if __name__ == "__main__":
    sys.exit(start("export"))
