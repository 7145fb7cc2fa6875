"""The engine on a machine where OpenVINO cannot be imported: NNabla does the work."""

import subprocess
import sys

SCRIPT = """
import sys
sys.modules["openvino"] = None
import logging
import nnabla as nn
import nnabla.functions as F
import numpy as np
from nnclip.engine import AdamW, StockStep, compile_graph, compile_step, interpret_graph
from nnclip.errors import ConfigError
from nnclip.extras import how

x, table = nn.Variable((2, 3)), nn.Variable((3, 4), need_grad=True)
table.d = 1.0
y = F.affine(x, table)
array = np.ones((5, 3), np.float32)
assert interpret_graph({"x": x}, {"y": y})(x=array)["y"].tolist() == [[3.0] * 4] * 5
try:
    compile_graph({"x": x}, {"y": y})
except ConfigError as error:
    assert how() in str(error)
else:
    raise AssertionError("compiled without OpenVINO")

step = compile_step({"x": x}, {"loss": F.sum(y)}, {"table": table})
assert isinstance(step, StockStep)
step(x=array[:2])
AdamW({"table": table}, weight_decay=0.0).update(0.5)
assert np.allclose(table.d, 0.5)
print("done")
"""


def test_everything_but_compiling_works():
    found = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip().endswith("done")
    assert found.stderr.count("OpenVINO is not installed") == 1
