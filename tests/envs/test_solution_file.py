"""Solutions on disk: the same when read back, and refused when damaged, of another game, or against the rules."""

import dataclasses

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from envs.registry import make
from envs.solution_file import read_solution, write_solution
from envs.solver import solve


@pytest.mark.parametrize("name", ["tictactoe", "hex:3", "mnk:4x3x3:gravity:two:blocked=1@3"])
def test_what_was_written_is_read(name, tmp_path):
    game = make(name).native
    solution, path = solve(game), tmp_path / "folder" / "solution.safetensors"
    digest = write_solution(solution, path)
    assert write_solution(solution, tmp_path / "again") == digest
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    read = read_solution(path, make(name).native)
    for field in ("observation", "legal", "to_play", "value", "optimal", "ply"):
        assert torch.equal(getattr(read, field), getattr(solution, field))
        assert getattr(read, field).dtype == getattr(solution, field).dtype
    assert all(torch.equal(one, other) for one, other in zip(read.state, solution.state))
    assert type(read.state) is type(solution.state)
    assert (read.game, read.version, read.num_reachable) == (name, 1, solution.num_reachable)


def test_refusals(tmp_path):
    game, path = make("tictactoe").native, tmp_path / "solution"
    solution = solve(game)
    write_solution(solution, path)
    with pytest.raises(
        ValueError, match="is solution/1 of tictactoe version 1; needed is solution/1 of hex:3 version 1"
    ):
        read_solution(path, make("hex:3").native)
    with pytest.raises(FileNotFoundError):
        read_solution(tmp_path / "none", game)
    (tmp_path / "text").write_text("not this")
    with pytest.raises(ValueError, match="not a solution of a game"):
        read_solution(tmp_path / "text", game)

    with safe_open(path, "pt") as file:
        tensors, meta = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    tensors["value"][17] += 1
    save_file(tensors, tmp_path / "damaged", meta)
    with pytest.raises(ValueError, match="does not have the hash written with it"):
        read_solution(tmp_path / "damaged", game)

    wrong = dataclasses.replace(solution, value=-solution.value)
    write_solution(wrong, tmp_path / "wrong")
    with pytest.raises(ValueError, match="contradict the rules of tictactoe"):
        read_solution(tmp_path / "wrong", game)
    some = solution.optimal.clone()
    some[::7] = solution.legal[::7]  # a seventh of the positions, losing moves among the optimal ones
    write_solution(dataclasses.replace(solution, optimal=some), tmp_path / "wrong")
    with pytest.raises(ValueError, match="contradict the rules"):
        read_solution(tmp_path / "wrong", game)
