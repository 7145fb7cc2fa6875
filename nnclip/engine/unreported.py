"""Turns off OpenVINO's and NNCF's reports of their use, which are on by default.

Where the package that tells cannot be imported, both use stubs of their own that send nothing.
"""

import sys

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
