"""The example of docs/monitor.md, on data that are not ours, says what the page says it says."""

import ast
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "monitor.md").read_text()


def test_the_example_prints_what_the_page_says(capsys):
    pytest.importorskip("sklearn")
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    namespace: dict = {}
    exec(code, namespace)
    printed = ast.literal_eval(capsys.readouterr().out)
    said = ast.literal_eval(re.findall(r"prints `(\[.*?\])`", PAGE)[0])
    assert [(kind, status) for kind, status, _ in printed] == [(kind, status) for kind, status, _ in said]
    assert len(namespace["rows"]) >= 100
    assert namespace["rows"][-1]["loss"] < namespace["rows"][0]["loss"]
