"""One console command for all of scripts/: vaebss fit, vaebss test and so on."""

import sys
from importlib import import_module

# Imported only when called for, so that `vaebss --help` answers at once.
COMMANDS = {
    "fit": ("vaebss.commands.train:fit", "train a separator on mixtures alone"),
    "remix": ("vaebss.commands.train:remix", "train a mask network on remixes of a separator's estimates"),
    "test": ("vaebss.commands.test:main", "score a checkpoint on fixed test mixtures"),
    "separate": ("vaebss.commands.separate:main", "take your own mixtures apart"),
    "export": ("vaebss.commands.export:main", "turn a model into an ONNX file"),
    "demo": ("vaebss.commands.demo:main", "a page to see digits overlap and come apart"),
    "compare": ("vaebss.commands.compare:main", "train and score every method of the paper's Table II"),
    "benchmark": ("vaebss.commands.benchmark:main", "measure how fast training and separation are"),
}


def main() -> int:
    """Run the command that is named first; its own --help explains it."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help"):
        lines = (f"  {command:11}{purpose}" for command, (_, purpose) in COMMANDS.items())
        print("usage: vaebss COMMAND [options]\n\n" + "\n".join(lines) + "\n\nvaebss COMMAND --help lists the options.")
        return 0
    if name not in COMMANDS:
        print(f"vaebss: error: no command {name!r}; known are {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    module, function = COMMANDS[name][0].split(":")
    sys.argv = [f"vaebss {name}", *sys.argv[2:]]
    return getattr(import_module(module), function)()


if __name__ == "__main__":
    sys.exit(main())
