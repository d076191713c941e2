"""Every command and every piece of Python in docs/arena.md that needs no trained run works as shown."""

import re
import shlex
from pathlib import Path

from gurgeh.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "arena.md").read_text()


def test_the_page_is_true(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```(\w*)\n(.*?)```", PAGE, re.S)
    printed = ""
    for kind, block in blocks:
        if kind == "python":
            exec(compile(block, "docs/arena.md", "exec"), {})
            continue
        for line in block.splitlines() if block.startswith("gurgeh ") else ():
            assert main(shlex.split(line)[1:]) == 0
            printed += capsys.readouterr().out
    outputs = [block for kind, block in blocks if not kind and not block.startswith("gurgeh ")]
    assert len(outputs) == 1
    for output in outputs:
        assert output.strip() in printed
    assert "verified: 100 episodes" in printed


def test_the_page_names_every_option(capsys):
    main(["arena", "--help"])
    for option in re.findall(r"--[a-z-]+", capsys.readouterr().out):
        assert f"`{option}" in PAGE or option in ("--help", "--traceback"), option
