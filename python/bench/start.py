"""Times `import dyconv` beyond numpy (at most 60 ms), and weighs the package (a wheel of at most 5 MB).

    python bench/start.py [WHEEL]
"""

from __future__ import annotations

import importlib.metadata
import os
import statistics
import subprocess
import sys

RUNS = 15
IMPORT = "import time, numpy; start = time.perf_counter(); import dyconv; print(time.perf_counter() - start)"


def main() -> None:
    # The first run writes and reads files that the others find in memory.
    times = [float(subprocess.check_output([sys.executable, "-c", IMPORT])) * 1e3 for _ in range(RUNS + 1)][1:]
    print(f"import dyconv: {statistics.median(times):.1f} ms beyond numpy (at most 60), median of {RUNS} processes")
    files = importlib.metadata.files("dyconv") or []
    installed = sum(file.size or 0 for file in files)
    print(f"installed: {installed / 1e6:.2f} MB in {len(files)} files")
    for wheel in sys.argv[1:]:
        print(f"{os.path.basename(wheel)}: {os.path.getsize(wheel) / 1e6:.2f} MB (at most 5)")


if __name__ == "__main__":
    main()
