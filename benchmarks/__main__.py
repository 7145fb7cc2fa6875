"""`python benchmarks`: runs every benchmark and joins what they found to one JSON line, the last.

`--quick` is what `make bench-quick` and the continuous integration run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPTS = ("tokenizer.py", "cpu_inference.py", "cpu_training.py")


def main() -> int:
    """Run the scripts one after the other; 1 if one of them fails."""
    parser = argparse.ArgumentParser(prog="python benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small model, few rounds")
    flags = ["--quick"] if parser.parse_args().quick else []
    environment = dict(os.environ)
    if flags:
        # On a shared machine OpenMP's threads, which wait by spinning, make torch ten times slower.
        environment.setdefault("OMP_WAIT_POLICY", "passive")
    whole: dict = {"benchmark": "all", "rows": [], "ratios": {}, "skipped": [], "failed": []}
    for script in SCRIPTS:
        command = [sys.executable, str(Path(__file__).parent / script), *flags]
        lines: list[str] = []
        print(f"\n== {script} {' '.join(flags)}", flush=True)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
            assert child.stdout is not None
            for line in child.stdout:
                lines.append(line)
                if not line.startswith("{"):
                    print(line, end="", flush=True)
        if child.returncode or not lines:
            whole["failed"].append(script)
            continue
        part = json.loads(lines[-1])
        whole["rows"] += part.pop("rows", [])
        whole["ratios"].update(part.pop("ratios", {}))
        whole["skipped"] += part.pop("skipped", [])
        whole[part.pop("benchmark")] = part
    print(json.dumps(whole), flush=True)
    return 1 if whole["failed"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
