"""A comparison as Markdown: for each K a table with a row a method, published figures beside ours."""

from typing import Any

from vaebss.baselines.published import ABOUT
from vaebss.metrics.metric import Metric
from vaebss.modalities.registry import MODALITIES


def table(comparison: dict[str, Any]) -> str:
    """Return the facts of a comparison as Markdown, a table for each K with columns as the modality's metrics say."""
    metrics = [metric for metric in MODALITIES[comparison["kind"]].metrics if metric.columns]
    about = ABOUT.get(comparison["kind"], "")
    lines = [
        f"Mixtures of {comparison['num_mixed']} {comparison['of']}; {_trained(comparison)} and scored on the same "
        f"{comparison['test_mixtures']} test mixtures, in {comparison['seconds'] / 60:.0f} minutes in all. "
        f"{f'{about} ' if about else ''}Methods in italics see the true sources.",
    ]
    for num_sources in dict.fromkeys(result["num_sources"] for result in comparison["results"]):
        lines += ["", f"## K = {num_sources}", "", *_header(metrics)]
        lines += [_row(result, metrics) for result in comparison["results"] if result["num_sources"] == num_sources]
    return "\n".join(lines) + "\n"


def _trained(comparison: dict[str, Any]) -> str:
    """Tell how the methods came about."""
    if comparison["shipped"]:
        return "models that come with the package, trained as their cards say"
    begin_with = comparison["begin_with"]
    more = f", which begins with {begin_with} slots where K is less than that but more than 2" if begin_with > 3 else ""
    how = f"the VAE{more}, with a beta that rises over {comparison['warmup']}"
    return f"every method trained on {comparison['budget']} mixtures ({how})"


def _header(metrics: list[Metric]) -> tuple[str, str]:
    titles = ["method"]
    for metric in metrics:
        mean, *others = (part.replace("_", " ") or metric.heading for part in metric.columns)
        titles += [mean, *([metric.published] if metric.published else []), *others]
    titles += ["count right", "train, s", "separate, s"]
    return f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"


def _row(result: dict[str, Any], metrics: list[Metric]) -> str:
    scores, published = result["scores"], result.get("published", {})
    cells = [f"*{result['method']}*" if result["sees_truth"] else result["method"]]
    for metric in metrics:
        mean, *others = (f"{scores[metric.key(part)]:.{metric.decimals}f}" for part in metric.columns)
        beside = [f"{published[metric.name]:.2f}" if published else ""] if metric.published else []
        cells += [mean, *beside, *others]
    train = "" if result["train_seconds"] is None else f"{result['train_seconds']:.0f}"
    cells += [f"{100 * scores['count']:.1f} %", train, f"{result['separate_seconds']:.0f}"]
    return f"| {' | '.join(cells)} |"
