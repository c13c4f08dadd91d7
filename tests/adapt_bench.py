"""The tables of docs/own-data.md: a student adapts to 200 mixtures of letters over shapes, and separates 300 others.

python tests/adapt_bench.py                              # some 25 minutes of one core without AMX
python tests/adapt_bench.py --no-classes                 # slots are free, although classes are evident
python tests/adapt_bench.py --gains 0.4 1 --noise 0.02   # sources of unequal brightness, noise
python tests/adapt_bench.py --no-renew                   # a new bank before every fourth epoch, instead of every one
"""

# N mixtures, K slots

import time
from argparse import ArgumentParser, BooleanOptionalAction
from itertools import count
from typing import Any

import torch
from torch import Tensor
from worlds import world

import vaebss
from vaebss.baselines.trivial import EqualShare
from vaebss.data.bank import Bank
from vaebss.data.conditions import conditions_of
from vaebss.matching import match
from vaebss.metrics.images import METRICS
from vaebss.metrics.metric import mean_per_mixture
from vaebss.models.separator import Separator
from vaebss.training.adapting import build_student, train_system

KNOWN, OTHERS = 200, 300  # mixtures to adapt to, and to score


def mixed(number: int, seed: int, size: int, gains: list[float] | None, noise: float) -> tuple[Tensor, Tensor]:
    """Return sources (N, 2, 1, H, W), as bright as they are in the mixtures, and the mixtures (N, 1, H, W)."""
    plan = torch.stack([torch.full((number,), seed), torch.arange(number)], 1)
    return conditions_of(gains, noise).mixed(world(number, size, seed), plan)


def row(sources: Tensor, mixtures: Tensor, model: Separator) -> str:
    """Return PSNR (paper scale), and the percentages of mixtures that are in place and whose count is right.

    A mixture is in place if its letter is in the slot that has most letters.
    """
    found = vaebss.separate(mixtures, model)
    quality, two = METRICS[0].quality, torch.full((len(sources),), 2)
    scores = mean_per_mixture(quality, found.sources, sources, two)
    letters = match(found.sources, sources, two)[:, :1]  # (N, 1, C, H, W)
    first = float((letters == found.sources[:, :1]).flatten(1).all(1).float().mean())
    right = float((found.active.sum(1) == 2).float().mean())
    return f"{scores.mean():.2f} | {100 * max(first, 1 - first):.1f} | {100 * right:.1f}"


def main() -> None:
    """Print a row of scores before training and after each round of four epochs."""
    parser = ArgumentParser()
    classes = "each class of sources has a slot of its own; by default the first bank decides"
    parser.add_argument("--classes", action=BooleanOptionalAction, help=classes)
    parser.add_argument("--gains", type=float, nargs=2, help="least and most gain of a source")
    parser.add_argument("--noise", type=float, default=0.0, help="standard deviation of the noise of every pixel")
    parser.add_argument("--size", type=int, default=28, help="side of a mixture in pixels")
    parser.add_argument("--steps", type=int, help="training steps; by default those of the schedule")
    parser.add_argument("--renew", action=BooleanOptionalAction, help="a new bank before every epoch")
    parser.add_argument("--seed", type=int, default=0, help="seed of training")
    options = parser.parse_args()
    torch.set_num_threads(1)
    (_, known), others = (
        mixed(number, seed, options.size, options.gains, options.noise) for number, seed in ((KNOWN, 0), (OTHERS, 1))
    )
    print("| epoch | PSNR | in place, % | count right, % | CPU seconds |\n|---|---|---|---|---|")
    print(f"| equal share | {row(*others, EqualShare(2, others[1].shape[1:]))} | |")
    teacher = vaebss.load("remix-k2")
    print(f"| remix-k2 | {row(*others, teacher)} | |", flush=True)
    system, data = build_student(known, teacher, options.seed, options.classes)
    if options.renew is not None:
        data.hparams.renew = options.renew
    make: Any = data.banks
    began, epochs = time.process_time(), count()

    def told(number: int) -> Bank:
        if (epoch := next(epochs)) > 0 and epoch % data.hparams.epochs_per_round == 0:
            print(f"| {epoch} | {row(*others, system.model)} | {time.process_time() - began:.0f} |", flush=True)
        return make(number)

    data.banks = told
    model = train_system(system, data, progress=False, steps=options.steps)
    print(f"| end | {row(*others, model)} | {time.process_time() - began:.0f} |")


if __name__ == "__main__":
    main()
