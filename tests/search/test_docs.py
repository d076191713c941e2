"""The example of docs/search.md runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "search.md"


def test_the_example_runs(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    exec(compile(example, str(DOCUMENT), "exec"), {})
    assert capsys.readouterr().out.strip() == "torch.Size([32]) torch.Size([32, 4]) torch.Size([32, 1])"


def test_the_names_in_the_document_exist():
    import search
    from search import GumbelConfig, PUCTConfig

    text = DOCUMENT.read_text()
    for config in (GumbelConfig, PUCTConfig):
        for name in config.__dataclass_fields__:
            assert f"`{name}`" in text, f"{config.__name__}.{name} is not documented"
    for name in ("gumbel_muzero", "muzero", "warm_up"):
        assert callable(getattr(search, name))
