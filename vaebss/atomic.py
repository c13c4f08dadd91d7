"""Files that are written whole or not at all."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vaebss.errors import first_line

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # how the system says that there is no more room


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yields another path in the same folder to write to; the file there takes the place of `path` at the end.

    Until then, and after an error, `path` is what it was before, and nothing is left beside it.

    Raises:
        OSError: of one line, if the disk is full. PyTorch's writer says so by a RuntimeError.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    except (OSError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno not in FULL:
            raise
        kept = "; the one from before is kept" if path.is_file() else ""
        raise OSError(f"{path} cannot be written, is the disk full?{kept} ({first_line(error)})") from error
    finally:
        part.unlink(missing_ok=True)
