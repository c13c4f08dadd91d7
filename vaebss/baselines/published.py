"""What Neri et al. 2021 published of their methods, as far as they did."""

MIXED = 2  # M of both tables

# kind of modality -> method -> K -> score
PUBLISHED: dict[str, dict[str, dict[int, dict[str, float]]]] = {
    "images": {  # Table II, mixed pairs of MNIST digits
        "nmf": {2: {"psnr_paper": 17.22, "ssim": 0.50}, 3: {"psnr_paper": 18.27, "ssim": 0.44}},
        "ae": {2: {"psnr_paper": 15.96, "ssim": 0.43}, 3: {"psnr_paper": 16.30, "ssim": 0.43}},
        "glo": {2: {"psnr_paper": 24.63, "ssim": 0.86}},
        "mixit": {2: {"psnr_paper": 25.69, "ssim": 0.88}, 3: {"psnr_paper": 25.41, "ssim": 0.69}},
        "vae": {2: {"psnr_paper": 26.69, "ssim": 0.93}, 3: {"psnr_paper": 27.68, "ssim": 0.94}},  # masked: their VAEM
    },
    "audio": {  # Table III, mixed pairs of notes of MUMS
        "nmf": {2: {"si_sdr": 5.40, "si_sir": 16.93, "si_sar": 7.96}},
        "mixit": {2: {"si_sdr": 6.64, "si_sir": 17.59, "si_sar": 8.26}},
        "vae-unmasked": {2: {"si_sdr": 14.33, "si_sir": 29.92, "si_sar": 14.87}},
        "vae": {2: {"si_sdr": 17.10, "si_sir": 29.55, "si_sar": 18.20}},
        "ideal-binary-mask-bins": {2: {"si_sdr": 23.97, "si_sir": 48.89, "si_sar": 24.06}},
        "ideal-ratio-mask-bins": {2: {"si_sdr": 22.66, "si_sir": 34.39, "si_sar": 23.23}},
    },
}
ABOUT = {  # kind of modality -> what the reader of a table has to know of its figures
    "images": "PSNR in dB; the paper's scale has sources in [0, 0.5], the other digits in [0, 1]. "
    "Published: Neri et al. 2021, Table II.",
    "audio": "SI-SDR, SI-SIR and SI-SAR in dB. NMF knows nothing but the mixture that it takes apart. "
    "Published: Neri et al. 2021, Table III, whose notes are other notes, of MUMS, and whose ideal masks of bins "
    "beside ours tell how comparable they are.",
}


def published_slots(kind: str) -> list[int]:
    """Return the numbers of slots K that were published; [2] where nothing was."""
    return sorted({slots for figures in PUBLISHED.get(kind, {}).values() for slots in figures}) or [MIXED]


def published(kind: str, method: str, num_sources: int, num_mixed: int) -> dict[str, float]:
    """Scores of a method; empty where there are none."""
    return PUBLISHED.get(kind, {}).get(method, {}).get(num_sources, {}) if num_mixed == MIXED else {}
