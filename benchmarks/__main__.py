"""`python benchmarks`: runs every benchmark and joins what they found to one JSON line, the last.

All flags are handed on; `--quick` is what `make bench-quick` and the continuous integration run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPTS = ("tokenizer.py", "cpu_inference.py", "cpu_training.py")


def main(argv: list[str]) -> int:
    """Run the scripts one after the other; 1 if one of them fails."""
    environment = dict(os.environ)
    if "--quick" in argv:
        # On a shared machine OpenMP's threads, which wait by spinning, make torch ten times slower.
        environment.setdefault("OMP_WAIT_POLICY", "passive")
    whole: dict = {"benchmark": "all", "rows": [], "ratios": {}, "skipped": [], "failed": []}
    for script in SCRIPTS:
        command = [sys.executable, str(Path(__file__).parent / script), *argv]
        lines: list[str] = []
        print(f"\n== {script} {' '.join(argv)}", flush=True)
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
    raise SystemExit(main(sys.argv[1:]))
