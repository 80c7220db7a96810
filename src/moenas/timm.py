"""Our models in timm: ``import moenas.timm`` adds them to its list.

``python -m moenas.timm SCRIPT ARGUMENTS`` does so for a script that is not to be changed, such as
timm's own ``train.py`` or ``validate.py``. It is not part of ``import moenas``, which loads neither
torch nor timm.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from moenas.models.timm_entry import register

register()

if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("Usage: python -m moenas.timm SCRIPT [ARGUMENTS OF THE SCRIPT]")
    sys.argv = sys.argv[1:]
    sys.path.insert(0, str(Path(sys.argv[0]).resolve().parent))
    runpy.run_path(sys.argv[0], run_name="__main__")
