"""The programs of docs/compiler.md run, and what they compile answers as NNabla does."""

import re
from collections import OrderedDict
from pathlib import Path

import nnabla as nn
import numpy as np

PAGE = (Path(__file__).parents[2] / "docs" / "compiler.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
PRINTED = re.findall(r"^print\(.*\)  # (.*)$", "\n".join(PROGRAMS), re.MULTILINE)


def test_the_programs_print_what_they_say(capsys, run_nnabla):
    names = {}
    with nn.parameter_scope("", scope=OrderedDict()):
        exec(PROGRAMS[0], names)
        images = names["images"]
        found = names["digits"](image=images)["probabilities"]
        x = nn.Variable(images.shape)
        y = names["F"].softmax(names["network"](x))
        np.testing.assert_allclose(found, run_nnabla({x: images}, y), rtol=1e-4, atol=1e-5)
        for program in PROGRAMS[1:]:
            exec(program, names)
    assert capsys.readouterr().out.splitlines() == PRINTED and len(PRINTED) == 3
    assert type(names["step"]).__name__ == "CompiledStep"
    assert np.isfinite(names["losses"]).all()
