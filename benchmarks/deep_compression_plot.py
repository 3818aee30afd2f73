"""Draw what `deep_compression.py` measured.

python benchmarks/deep_compression_plot.py docs/deep_compression.svg benchmarks/results/deep_compression_*.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from compressing.frontier import drawing

from fxcompress.files import write_text

if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    write_text(Path(sys.argv[1]), drawing([json.loads(Path(one).read_text(encoding="utf-8")) for one in sys.argv[2:]]))
