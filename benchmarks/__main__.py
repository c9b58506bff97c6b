"""What choosing costs: `make bench`. Tables for reading, and `build/bench.json`.

python -m benchmarks
"""

import argparse
import json
from pathlib import Path

from benchmarks import scale, start_up, step_cost
from benchmarks.time_to_result import machine


def main(argv=None):
    parser = argparse.ArgumentParser(description="The cost of a step, of the start, and of many samples.")
    step_cost.add_arguments(parser)
    parser.add_argument("--json", type=Path, default=Path("build/bench.json"))
    chosen = parser.parse_args(argv)
    found = {"steps": step_cost.run(chosen), "start_up": start_up.run(), "scale": scale.run(), **machine(None)}
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    chosen.json.write_text(json.dumps(found, indent=1) + "\n")
    print(f"Figures, versions and hardware: {chosen.json}")


if __name__ == "__main__":
    main()
