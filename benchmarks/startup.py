"""How long a user waits: for the help, for the import, and for the first step of a run on the world.

Modules are compiled once, before anything is timed, as an installation has them.

python benchmarks/startup.py
"""

import argparse
import compileall
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import manyviews


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def importing() -> float:
    """What ``import manyviews`` adds to a bare Python, in seconds."""
    code = "import time; t = time.perf_counter(); import manyviews; print(time.perf_counter() - t)"
    return float(
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    )


def first_step() -> float:
    """From the command to the first line of the log, which is written when the first step is done."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        words = ["-m", "manyviews", "pretrain", "simclr", "--out", str(out)]
        start = time.perf_counter()
        process = subprocess.Popen([sys.executable, *words], stderr=subprocess.DEVNULL)
        try:
            while process.poll() is None and not (out / "metrics.jsonl").exists():
                time.sleep(0.01)
            if not (out / "metrics.jsonl").exists():
                raise SystemExit("pretrain ended before its first step: run it by hand to see why.")
            return time.perf_counter() - start
        finally:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    compileall.compile_dir(Path(manyviews.__file__).parent, quiet=2)
    measures: dict[str, Callable[[], float]] = {
        "manyviews --help": lambda: seconds([sys.executable, "-m", "manyviews", "--help"]),
        "import manyviews": importing,
        "import torch": lambda: seconds([sys.executable, "-c", "import torch"]),
        "first step of pretrain": first_step,
    }
    result = {
        name: statistics.median(measure() for _ in range(args.repeats + 1))
        for name, measure in measures.items()
    }
    if args.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:24} {value:6.2f} s")


if __name__ == "__main__":
    main()
