"""Default options of remix.py for a user's own mixtures: a schedule, and the model that the student starts from."""

from typing import Any

from torch import Tensor

from vaebss.commands.yaml_options import flatten
from vaebss.modalities.appearance import estimated_scale
from vaebss.modalities.audio import Audio
from vaebss.paths import expanded
from vaebss.pretrained.catalogue import card
from vaebss.training import presets
from vaebss.training.statistics import data_options

NONE = "none"  # of --init and --teacher: from nothing, though a shipped model would do


def picture_defaults(options: Any, mixtures: Tensor) -> dict[str, Any]:
    """Return a schedule for pictures, and the model that the student starts from, or else its teacher.

    Args:
        options: Options as typed.
        mixtures: Mixtures (N, C, H, W).

    Returns:
        Values by the full names of options.
    """
    slots, shape = options.model.num_sources, tuple(mixtures.shape[1:])
    defaults = flatten(presets.schedule(shape, len(mixtures)))
    defaults |= flatten(data_options(mixtures, estimated_scale(mixtures)))
    shipped = presets.default_teacher(slots)
    if shape[1] == 1:  # lines, which no shipped model knows
        shipped, defaults["teacher_epochs"] = None, presets.VAE_EPOCHS_OF_LINES
    if NONE in (options.teacher, options.init):
        return defaults | {"init": None}
    fits = shipped and presets.fits_student(shipped, shape, options.model.widths, options.model.bottleneck)
    init = options.init or (shipped if fits and not options.teacher else None)
    if init is None:
        return defaults | {"teacher": options.teacher or shipped}
    for name in ("model.widths", "model.view"):
        defaults.pop(name, None)  # a student has those of its --init
    return defaults | {"init": init}


def sound_defaults(options: Any) -> dict[str, Any]:
    """Return a schedule for recordings, and what the student begins with.

    It begins with the shipped model of as many slots, unless --init or --teacher is typed. A new student also gets its
    sizes and a teacher.

    Raises:
        ValueError: There is no teacher.
    """
    slots, schedule = options.model.num_sources, flatten(presets.SOUND_SCHEDULE)
    schedule["data.voices"] = expanded(options.data.mixtures).is_file()  # of one recording
    shipped = presets.default_teacher(slots, Audio)
    fits = shipped and card(shipped)["hyper_parameters"]["num_sources"] == slots
    if fits and not options.teacher and options.init in (None, shipped):
        return schedule | flatten(presets.ON_FROM_SHIPPED_SOUND) | {"init": shipped}
    if options.init not in (None, NONE):
        return schedule
    teacher = options.teacher or shipped
    if teacher in (None, NONE):
        raise ValueError("recordings need a teacher: a model of sound, or a .yaml file to train one with")
    return schedule | flatten(presets.NEW_STUDENT_OF_SOUND) | {"teacher": teacher, "init": None}
