"""A comparison as Markdown: for each K a table with a row a method, published figures beside ours."""

from typing import Any, NamedTuple


class Column(NamedTuple):
    """Of a table: its title, the score, its decimals, and the title of what was published of it, if anything was."""

    title: str
    score: str
    decimals: int
    published: str | None = None


COLUMNS = {  # by kind of modality
    "images": (
        Column("PSNR (paper scale)", "psnr_paper", 2, "published"),
        Column("PSNR", "psnr", 2),
        Column("SSIM", "ssim", 3, "published SSIM"),
    ),
    "audio": (
        Column("SI-SDR", "si_sdr", 2, "published"),
        Column("median", "si_sdr_median", 2),
        Column("worst decile", "si_sdr_worst_decile", 2),
        Column("SI-SIR", "si_sir", 2, "published SIR"),
        Column("SI-SAR", "si_sar", 2, "published SAR"),
    ),
}
ABOUT = {
    "images": "PSNR in dB; the paper's scale has sources in [0, 0.5], the other digits in [0, 1]. "
    "Published: Neri et al. 2021, Table II.",
    "audio": "SI-SDR, SI-SIR and SI-SAR in dB. NMF knows nothing but the mixture that it takes apart. "
    "Published: Neri et al. 2021, Table III, whose notes are other notes, of MUMS, and whose ideal masks of bins "
    "beside ours tell how comparable they are.",
}


def table(comparison: dict[str, Any]) -> str:
    """The comparison as Markdown, a table for each K."""
    columns = COLUMNS[comparison["kind"]]
    lines = [
        f"Mixtures of {comparison['num_mixed']} {comparison['of']}; {_trained(comparison)} and scored on the same "
        f"{comparison['test_mixtures']} test mixtures, in {comparison['seconds'] / 60:.0f} minutes in all. "
        f"{ABOUT[comparison['kind']]} Methods in italics see the true sources.",
    ]
    for num_sources in dict.fromkeys(result["num_sources"] for result in comparison["results"]):
        lines += ["", f"## K = {num_sources}", "", *_header(columns)]
        lines += [_row(result, columns) for result in comparison["results"] if result["num_sources"] == num_sources]
    return "\n".join(lines) + "\n"


def _trained(comparison: dict[str, Any]) -> str:
    """How the methods came about."""
    if comparison["shipped"]:
        return "models that come with the package, trained as their cards say"
    begin_with = comparison["begin_with"]
    more = f", which begins with {begin_with} slots where K is less than that but more than 2" if begin_with > 3 else ""
    how = f"the VAE{more}, with a beta that rises over {comparison['warmup']}"
    return f"every method trained on {comparison['budget']} mixtures ({how})"


def _header(columns: tuple[Column, ...]) -> tuple[str, str]:
    titles = [title for column in columns for title in (column.title, column.published) if title]
    titles = ["method", *titles, "count right", "train, s", "separate, s"]
    return f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"


def _row(result: dict[str, Any], columns: tuple[Column, ...]) -> str:
    scores, published = result["scores"], result.get("published", {})
    cells = [f"*{result['method']}*" if result["sees_truth"] else result["method"]]
    for column in columns:
        cells.append(f"{scores[column.score]:.{column.decimals}f}")
        if column.published:
            cells.append(f"{published[column.score]:.2f}" if published else "")
    train = "" if result["train_seconds"] is None else f"{result['train_seconds']:.0f}"
    cells += [f"{100 * scores['count']:.1f} %", train, f"{result['separate_seconds']:.0f}"]
    return f"| {' | '.join(cells)} |"
