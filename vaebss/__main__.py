"""One console command for all of scripts/: vaebss fit, vaebss test and so on."""

import sys

from vaebss.commands.terminal import start
from vaebss.version import __version__

COMMANDS = {
    "fit": "train a separator on mixtures alone",
    "remix": "train a mask network on remixes of a separator's estimates",
    "test": "score a checkpoint on fixed test mixtures",
    "separate": "separate your own mixtures",
    "export": "turn a model into an ONNX file",
    "demo": "a page in the browser: digits and notes overlap and come apart",
    "compare": "train and score every method of the paper's Table II",
    "benchmark": "measure how fast training and separation are",
}


def main() -> int:
    """Run the command that is named first; its own --help explains it."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help"):
        lines = (f"  {command:11}{purpose}" for command, purpose in COMMANDS.items())
        print("usage: vaebss COMMAND [options]\n\n" + "\n".join(lines) + "\n\nvaebss COMMAND --help lists the options.")
        return 0
    if name == "--version":
        print(f"vaebss {__version__}")
        return 0
    if name not in COMMANDS:
        print(f"vaebss: error: no command {name!r}; known are {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    sys.argv = [f"vaebss {name}", *sys.argv[2:]]
    return start(name)


if __name__ == "__main__":
    sys.exit(main())
