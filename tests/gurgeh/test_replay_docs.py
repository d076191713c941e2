"""Every command and every piece of Python in docs/evaluate-and-replay.md that needs no trained run works as shown."""

import re
import shlex
from pathlib import Path

from gurgeh.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "evaluate-and-replay.md").read_text()


def squeezed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def test_the_page_is_true(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```(\w*)\n(.*?)```", PAGE, re.S)
    outputs = [squeezed(block) for kind, block in blocks if not kind and not block.startswith("gurgeh ")]
    assert len(outputs) == 2
    printed = ""
    for kind, block in blocks:
        if kind == "python":
            exec(compile(block, "docs/evaluate-and-replay.md", "exec"), {})
            continue
        for line in block.splitlines() if block.startswith("gurgeh ") else ():
            if "runs/" not in line:
                assert main(shlex.split(line)[1:]) == 0
                printed += squeezed(capsys.readouterr().out) + "\n"
    for output in outputs:
        assert output in printed
    assert (tmp_path / "game.gif").stat().st_size > 1000


def test_the_page_names_every_option(capsys):
    for command in ("evaluate", "replay"):
        main([command, "--help"])
        for option in re.findall(r"--[a-z-]+", capsys.readouterr().out.split("gurgeh evaluate runs/demo")[0]):
            assert option in PAGE or option in ("--help", "--traceback"), option
