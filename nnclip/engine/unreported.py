"""Keeps OpenVINO and NNCF from telling a web analytics service of their use, as they do unasked.

Where the package that tells cannot be imported, both use stubs of their own that send nothing.
"""

import sys

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
