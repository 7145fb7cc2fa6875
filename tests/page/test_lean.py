import subprocess
import sys

SCRIPT = """
import pathlib, sys
from nnclip.page.lean import import_gradio

import_gradio()
import gradio
assert gradio.Blocks and sys.modules["gradio"] is gradio
assert "pandas.core" not in sys.modules
import pandas
assert "pandas.core" not in sys.modules
assert pandas.DataFrame([[1, 2]]).shape == (1, 2)
assert "pandas.core" in sys.modules
import_gradio()
assert sys.modules["gradio"] is gradio
"""


def test_gradio_is_whole_and_pandas_comes_when_it_is_asked_for():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
