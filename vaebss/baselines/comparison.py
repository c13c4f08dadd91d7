"""A comparison of methods: all are trained alike and scored on the same mixtures.

One epoch of training is the whole budget, so that every method sees the same mixtures. A VAE of three or four slots
starts with five, keeps the busiest after half of the budget and continues with these.
"""

# K assumed sources, M true sources

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure
from tqdm.auto import tqdm

from vaebss.baselines.method import BEGIN_WITH, Estimator, Models, Setting
from vaebss.baselines.methods import estimator, methods_of, seen, shipped, trained
from vaebss.baselines.published import published, published_slots
from vaebss.baselines.table import table
from vaebss.baselines.vae import WARMUP_STEPS, WARMUP_STEPS_SPARE
from vaebss.data.batches import Batch
from vaebss.data.corpus import Corpus
from vaebss.data.mixtures import MNISTMixtures
from vaebss.errors import check_at_least
from vaebss.figures.scores import slots_figure
from vaebss.figures.separations import comparison_figure
from vaebss.matching import MAX_SLOTS
from vaebss.modalities.modality import Modality
from vaebss.models.vae import VAE
from vaebss.pretrained.catalogue import available, card, kind_of
from vaebss.training.examples import SeparatedExamples, examples, separate_examples
from vaebss.training.scores import Scorer, score
from vaebss.training.vae import mean_nats

EXAMPLES = 8  # mixtures in the figure
SHIPPED = ("ae", "vae", "vae-refined")  # methods of which models come with the package


@dataclass
class ComparisonPlan:
    """The plan of a comparison.

    Args:
        corpus: Corpus of the sources that are mixed.
        methods: Names of methods, see `methods_of`; by default all.
        num_sources: Values of K; by default the published ones.
        num_mixed: M, sources in a mixture.
        budget: Number of mixtures that each method is trained on.
        begin_with: Initial slots of a VAE that shall have 3 or 4; it keeps the K busiest after half the budget. With 0
            it starts with K.
        shipped: Whether models that come with the package are scored in place of training.
        seed: Random seed of the training mixtures and of all methods.
        device: "cpu" or "cuda".
        model: Options of VAEBSS.
        data: Options of MNISTMixtures.

    Attributes:
        known: All methods of this kind of modality by name.
        chosen: Names of the methods that are compared.
        slots: Values of K.
        mixtures: The data module of all methods.

    Raises:
        ValueError: An option is out of its range, or names an unknown method.
    """

    corpus: Corpus
    methods: Sequence[str] | None = None
    num_sources: Sequence[int] | None = None
    num_mixed: int = 2
    budget: int = 400_000
    begin_with: int = BEGIN_WITH
    shipped: bool = False
    seed: int = 0
    device: str = "cpu"
    model: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        self.known = methods_of(self.kind)
        every = [name for name, method in self.known.items() if not method.only_named]
        self.chosen = list((SHIPPED if self.shipped else every) if self.methods is None else self.methods)
        self.slots = published_slots(self.kind) if self.num_sources is None else list(self.num_sources)
        self._check_sizes()
        self._check_methods()
        if self.shipped:
            self._check_shipped()
        drawn = {"num_mixed": self.num_mixed, "epoch_size": self.budget, "seed": self.seed, "source": self.corpus}
        self.mixtures = MNISTMixtures(**self.data | drawn)
        if self.budget < 2 * (size := self.mixtures.hparams.batch_size):
            raise ValueError(f"--budget must be two batches of {size} or more, not {self.budget}")

    @property
    def kind(self) -> str:
        """Kind of the modality."""
        return self.corpus.modality.kind

    def _check_methods(self) -> None:
        unknown = [method for method in self.chosen if method not in self.known]
        if unknown or not self.chosen:
            known = ", ".join(self.known)
            raise ValueError(f"--methods must be among {known}, not {', '.join(unknown) or 'nothing'}")
        for method in self.chosen:
            if (needed := self.known[method].needs) not in (None, *self.chosen):
                raise ValueError(f"{method} needs the trained model of {needed}. Add {needed} to --methods")
        if not any(methods for _, methods in self.rows()):
            only = f"K = {self.slots}, as published"
            raise ValueError(f"nothing to compare: {self.chosen[0]} is not for {only}")

    def _check_sizes(self) -> None:
        if not self.slots or not all(1 <= k <= MAX_SLOTS for k in self.slots):
            raise ValueError(f"--num-sources must be from 1 to {MAX_SLOTS}, not {self.slots}")
        if not 1 <= self.num_mixed <= MAX_SLOTS:
            raise ValueError(f"--num-mixed must be from 1 to {MAX_SLOTS}, not {self.num_mixed}")
        brightest = self.corpus.source_scale
        if math.isfinite(brightest) and self.num_mixed * brightest > min(self.slots):
            raise ValueError(f"--num-mixed {self.num_mixed} is too bright for --num-sources {min(self.slots)}")
        if not 0 <= self.begin_with <= MAX_SLOTS:
            raise ValueError(f"--begin-with must be from 0 to {MAX_SLOTS}, not {self.begin_with}")
        check_at_least(0, **{"--seed": self.seed})
        check_at_least(1, **{"--budget": self.budget})

    def _check_shipped(self) -> None:
        names = ", ".join(self.chosen)
        if not set(self.chosen) <= set(SHIPPED):
            raise ValueError(f"--shipped needs methods among {', '.join(SHIPPED)} of digits, not {names}")
        for model in (shipped("vae", num_sources) for num_sources in self.slots):
            if model not in available():
                raise ValueError(f"no shipped model is called {model}: there are {', '.join(available())}")
            if kind_of(card(model)) != self.kind:
                raise ValueError(f"--shipped compares models of digits, not of {self.corpus.title}")

    def rows(self, say: Callable[[str], object] = lambda line: None) -> Iterator[tuple[int, list[str]]]:
        """Yield each K and its methods, in the table's order; call `say` with a line for each that is left out."""
        for num_sources in self.slots:
            methods = [method for method in self.known if method in self.chosen]
            for method in methods[:]:
                if (only := self.known[method].only_k) not in (None, num_sources):
                    say(f"{method} is left out for K = {num_sources}: it is for K = {only} only")
                    methods.remove(method)
            yield num_sources, methods

    def prepare(self) -> None:
        """Load and verify the data; a second call does nothing."""
        self.mixtures.prepare_data()
        self.mixtures.setup()

    def setting(self, method: str, num_sources: int) -> Setting:
        """Return the setting of a method, with the modality that the method uses.

        Args:
            method: Name of the method.
            num_sources: Number of slots K.
        """
        steps = self.budget // self.mixtures.hparams.batch_size
        drawn = num_sources, steps, self.mixtures.hparams.source_scale, self.seed, self.device, self.mixtures.modality
        return seen(method, Setting(*drawn, self.model, self.begin_with, self.shipped))

    @property
    def facts(self) -> dict[str, Any]:
        """Plain values that describe the comparison."""
        return {
            "kind": self.kind,
            "data": self.mixtures.hparams.source,
            "of": self.corpus.title,
            "num_mixed": self.num_mixed,
            "test_mixtures": self.mixtures.hparams.test_mixtures,
            "budget": self.budget,
            "seed": self.seed,
            "warmup": f"{WARMUP_STEPS} steps where K is 1 or 2, else over {WARMUP_STEPS_SPARE} or half of all",
            "begin_with": self.begin_with,
            "shipped": self.shipped,
        }


@dataclass
class Comparison:
    """Results that a comparison has found so far.

    Attributes:
        facts: Plain values: those of the plan, `seconds`, and `results`, a list with a dict for each method and K.
        examples: Title of each method and K -> the same test mixtures, separated by it.
        modality: Modality of the mixtures.
    """

    facts: dict[str, Any]
    examples: dict[str, SeparatedExamples]
    modality: Modality

    @property
    def table(self) -> str:
        """The comparison as Markdown."""
        return table(self.facts)

    def figures(self) -> dict[str, Figure]:
        """Draw the examples, "comparison", and of several K the scores against K, "slots"."""
        first = next(iter(self.examples.values()))
        estimates = {label: found.estimates for label, found in self.examples.items()}
        figures = {"comparison": comparison_figure(first.signals, first.sources, estimates, self.modality.figure)}
        scores: dict[str, dict[int, dict[str, float]]] = {}
        for result in self.facts["results"]:
            if not result["sees_truth"]:
                scores.setdefault(result["method"], {})[result["num_sources"]] = result["scores"]
        if len({result["num_sources"] for result in self.facts["results"]}) > 1:
            main = self.modality.metrics[0]
            figures["slots"] = slots_figure(scores, main.name, main.label)
        return figures


def run_comparison(
    plan: ComparisonPlan,
    on_result: Callable[[Comparison], object] = lambda comparison: None,
    say: Callable[[str], object] = lambda line: None,
) -> Comparison:
    """Train and score all methods of a plan.

    Args:
        plan: Plan of the comparison.
        on_result: Called after each method with what has been found so far, which it may save.
        say: Called with lines that tell what is being done.
    """
    plan.prepare()
    started, data = time.perf_counter(), plan.mixtures
    first = examples(data.test_dataloader(), EXAMPLES)
    comparison = Comparison(plan.facts | {"results": []}, {}, data.modality)
    for num_sources, methods in plan.rows(say):
        models: Models = {}
        for method in methods:
            say(f"\nK = {num_sources}, {method}")
            setting = plan.setting(method, num_sources)
            result, answer = _run(method, setting, data, models)
            (pictured,) = _pictured([first], setting.modality)
            found = separate_examples(answer(pictured), pictured, setting.modality, setting.source_scale)
            comparison.facts["results"].append(result)
            comparison.facts["seconds"] = time.perf_counter() - started
            comparison.examples[f"{method}, K = {num_sources}"] = found
            on_result(comparison)
    return comparison


def _run(name: str, setting: Setting, data: MNISTMixtures, models: Models) -> tuple[dict[str, Any], Estimator]:
    """Train and score one method: its result, and how it answers. Adds to `models`, the trained ones for this K."""
    method, num_mixed = methods_of(setting.modality.kind)[name], data.counts[1]
    started, computed = time.perf_counter(), time.process_time()
    if model := trained(name, setting, data):
        models[name] = model
    done = time.perf_counter()
    answer = estimator(name, setting, models)
    slots = num_mixed if method.sees_truth else setting.num_sources
    scorer = Scorer(slots, data.hparams.source_scale, setting.modality)
    scores = score(answer, _pictured(tqdm(data.test_dataloader(), desc="separating"), setting.modality), scorer)
    if name == "vae" and isinstance(model, VAE):
        scores["elbo"] = mean_nats(model, data.test_dataloader())["elbo"]  # knows no sources, so that it may choose K
    result = {
        "method": name,
        "num_sources": setting.num_sources,
        "sees_truth": method.sees_truth,
        "train_seconds": None if setting.shipped else done - started,
        "separate_seconds": time.perf_counter() - done,
        "cpu_seconds": time.process_time() - computed,
        "scores": scores,
    }
    if figures := published(setting.modality.kind, name, setting.num_sources, num_mixed):
        result["published"] = figures
    return result, answer


def _pictured(batches: Iterable[Batch], modality: Modality) -> Iterator[Batch]:
    """Yield batches with their mixtures as a modality pictures them."""
    for batch in batches:
        yield batch | {"mixture": modality.picture(batch["signal"])}
