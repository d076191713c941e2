"""The summary beside a record is easily taken for it."""

from gurgeh.cli import main


def test_replay_of_a_summary_names_the_record(tmp_path, capsys):
    summary, record = tmp_path / "000-tictactoe-s0.json", tmp_path / "000-tictactoe-s0.jsonl.gz"
    summary.write_text('{\n  "schema": "evaluation/1"\n}\n')
    record.write_bytes(b"")
    assert main(["replay", str(summary)]) == 2
    error = capsys.readouterr().err
    assert f"{summary} is the summary; the record is {record}" in error
    assert len(error.splitlines()) == 1
