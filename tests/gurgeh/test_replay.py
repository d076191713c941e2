"""Records survive the disk unchanged, damage is noticed, and a replay proves or disproves every detail."""

import dataclasses
import gzip
import json
import re

import pytest
import torch

from agents.player import RandomPlayer, SolverPlayer
from envs.boards.tictactoe import TicTacToe
from envs.registry import make
from envs.solver import solve
from gurgeh.evaluate import play_episodes
from gurgeh.records import Header, RecordError, fingerprint, read_records, write_records
from gurgeh.replay import frames, open_records, verify


@pytest.fixture(scope="module")
def game():
    return make("tictactoe")


@pytest.fixture(scope="module")
def episodes(game):
    players = [SolverPlayer(solve(game.native)), RandomPlayer(game.spec)]
    return play_episodes(game, players, 20, seed=11)


HEADER = Header("tictactoe", 1, ("perfect", "random"), 11, settings={"simulations": 4}, code={"gurgeh": "0.1.0"})


def change(episode, **changes):
    return dataclasses.replace(episode, **changes)


def replaced(entries, place, value):
    return [value if i == place else entry for i, entry in enumerate(entries)]


@pytest.mark.parametrize("name", ["games.jsonl", "games.jsonl.gz"])
def test_a_file_gives_back_what_was_written(tmp_path, episodes, name):
    path = write_records(tmp_path / "deep" / name, HEADER, episodes)
    assert path == tmp_path / "deep" / name
    header, again = read_records(path)
    assert header == HEADER
    assert [e.actions for e in again] == [e.actions for e in episodes]
    for before, after in zip(episodes, again):
        for field in dataclasses.fields(before):
            expected = getattr(before, field.name)
            if field.name in ("prior", "visits"):  # nobody had any: left out
                assert getattr(after, field.name) == []
            else:
                assert getattr(after, field.name) == expected
    assert [file.name for file in path.parent.iterdir()] == [name]  # nothing left aside


def test_nothing_is_overwritten(tmp_path, episodes):
    path = write_records(tmp_path / "a.jsonl.gz", HEADER, episodes)
    content = path.read_bytes()
    assert write_records(path, HEADER, episodes) == path  # the same again: the same file
    second = write_records(path, HEADER, episodes[:3])
    assert second.name == "a-2.jsonl.gz"
    assert write_records(path, HEADER, episodes[:4]).name == "a-3.jsonl.gz"
    assert path.read_bytes() == content
    assert len(read_records(second)[1]) == 3


@pytest.mark.parametrize("name", ["games.jsonl", "games.jsonl.gz"])
def test_every_kind_of_damage_is_noticed(tmp_path, episodes, name):
    path = write_records(tmp_path / name, HEADER, episodes[:2])
    whole = path.read_bytes()
    step = max(1, len(whole) // 300)
    for place in range(0, len(whole), step):
        path.write_bytes(whole[:place])  # cut off
        with pytest.raises(RecordError, match=re.escape(str(path))):
            read_records(path)
        if name.endswith(".gz") and (4 <= place < 10):
            continue  # gzip's own header: time, flags and system carry nothing
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(RecordError, match=re.escape(str(path))):
            read_records(path)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_records(tmp_path / "missing.jsonl")
    for content, message in (
        (b"", "found 'none'"), (b'{"schema":"metrics/1"}\n', "found 'metrics/1'"), (b"[1]\n", "found list"),
        (b"\x80\x04pickle", "not JSON"), (b'{"schema":"episode/2"}\n', "found 'episode/2'"),
    ):  # fmt: skip
        (tmp_path / "other").write_bytes(content)
        with pytest.raises(RecordError, match=message):
            read_records(tmp_path / "other")


def rewrite(path, edit):
    """Edit the lines of a record and sign it anew, as a clumsy program might."""
    import hashlib

    lines = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    edit(lines)
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines[:-1])
    lines[-1]["sha256"] = hashlib.sha256(body).hexdigest()
    path.write_bytes(body + json.dumps(lines[-1]).encode() + b"\n")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda lines: lines[1].update(actions="abc"), "line 2: actions must be a list, found a str"),
        (lambda lines: lines[2].pop("legal"), "line 3: fields missing or unknown: legal"),
        (lambda lines: lines[2].update(extra=1), "line 3: fields missing or unknown: extra"),
        (lambda lines: lines[1]["rewards"].pop(), "entries of rewards, found"),
        (lambda lines: lines[1].update(seed=1.5), "seed must be a int, found a float"),
        (lambda lines: lines[0].update(version=2), "recorded with version 2 of tictactoe, found version 1"),
        (lambda lines: lines[0].update(game="tictactoee"), "unknown game 'tictactoee'"),
        (lambda lines: lines[1].update(seating=[0]), "episode 0 has 1 seats, tictactoe has 2"),
    ],
)
def test_inconsistent_files_are_refused(tmp_path, episodes, edit, message):
    path = write_records(tmp_path / "a.jsonl.gz", HEADER, episodes)
    rewrite(path, edit)
    with pytest.raises(ValueError, match=message):
        open_records(path)


def test_fingerprint_knows_type_shape_and_content():
    array = torch.arange(6).numpy()
    different = [array, array.reshape(2, 3), array.astype("int32"), array[::-1], array + 1]
    assert len({fingerprint(a) for a in different}) == 5
    assert fingerprint(array[::-1]) == fingerprint(array[::-1].copy())  # memory layout does not count
    assert re.fullmatch("[0-9a-f]{16}", fingerprint(array))


def test_verified(tmp_path, episodes):
    path = write_records(tmp_path / "a.jsonl.gz", HEADER, episodes)
    game, _, again = open_records(path)
    found = verify(game, again, num_copies=7)
    assert found == (20, sum(len(episode) + 1 for episode in episodes))


@pytest.mark.parametrize("name", ["CartPole-v1", "connect_four"])
def test_other_games_verify(name):
    game = make(name)
    episodes = play_episodes(game, [RandomPlayer(game.spec)], 10, seed=0)
    assert verify(game, episodes).episodes == 10
    stopped = play_episodes(game, [RandomPlayer(game.spec)], 3, seed=0, max_moves=4)
    assert verify(game, stopped) == (3, 15)


LIES = [
    (lambda e: change(e, actions=replaced(e.actions, 2, e.actions[0])), "move 2: action . is not legal"),
    (lambda e: change(e, actions=replaced(e.actions, 1, 77)), "move 1: action 77 is not legal"),
    (lambda e: change(e, actions=replaced(e.actions, 1, "1")), "move 1: action 1 is not legal"),
    (lambda e: change(e, actions=replaced(e.actions, 0, e.actions[1])), "move 1: observation was"),
    (lambda e: change(e, observations=replaced(e.observations, 3, "0" * 16)), "move 3: observation was 0000"),
    (lambda e: change(e, observations=[*e.observations[:-1], "f" * 16]), "observation was ffff"),
    (lambda e: change(e, legal=replaced(e.legal, 4, "f" * 16)), "move 4: legal moves were ffff"),
    (lambda e: change(e, rewards=replaced(e.rewards, 2, [0.5, -0.5])), r"move 2: reward was \[0.5, -0.5\], is \[0.0"),
    (lambda e: change(e, to_play=replaced(e.to_play, 1, 0)), "move 1: to_play was 0, is 1"),
    (lambda e: change(e, terminated=False, truncated=True), r"was \(False, True\), is \(True, False\)"),
    (lambda e: change(e, terminated=False, cut=True), r"was \(False, False\), is \(True, False\)"),
    (lambda e: change(e, outcome=[9.0, -9.0]), "outcome .* is not the sum"),
]


@pytest.mark.parametrize(("lie", "message"), LIES)
def test_each_lie_is_found_and_placed(game, episodes, lie, message):
    changed = [lie(episode) if i in (6, 9) else episode for i, episode in enumerate(episodes)]
    with pytest.raises(RecordError, match=f"episode 6, .*{message}"):
        verify(game, changed)
    with pytest.raises(RecordError, match=f"episode 9, .*{message}"):
        verify(game, changed[7:], num_copies=2)
    with pytest.raises(RecordError, match=f"episode 6, .*{message}"):
        list(frames(game, changed[6]))


def test_an_episode_cut_short_or_prolonged_is_found(game, episodes):
    short = change(
        episodes[0], actions=episodes[0].actions[:-1], legal=episodes[0].legal[:-1],
        rewards=episodes[0].rewards[:-1], observations=episodes[0].observations[:-1],
        to_play=episodes[0].to_play[:-1],
    )  # fmt: skip
    with pytest.raises(RecordError, match=r"\(terminated, truncated\) was \(True, False\), is \(False, False\)"):
        verify(game, [short])


def test_a_game_that_changed_is_found(episodes):
    class Changed(TicTacToe):
        """The same, but for a reward of 2 for the middle row."""

        def play(self, state, action):
            played = super().play(state, action)
            middle = state.stones[:, 0].scatter(1, action[:, None], True)[:, 3:6].all(1)
            return played._replace(reward=played.reward * (1 + middle[:, None]))

    from envs.registry import from_object

    with pytest.raises(RecordError, match=r"reward was \[-?1.0, -?1.0\], is \[-?2.0, -?2.0\]"):
        verify(from_object(Changed, "changed"), episodes)


def test_frames_show_the_episode(game, episodes):
    rules = TicTacToe()
    for episode in episodes[:5]:
        shown = list(frames(game, episode))
        assert len(shown) == len(episode) + 1
        state = rules.initial(torch.tensor([0]))
        for frame in shown:
            assert torch.equal(frame.observation, rules.observe(state)[0])
            assert frame.to_play == frame.move % 2
            if frame.action is not None:
                assert torch.equal(frame.legal, rules.legal(state)[0])
                state = rules.play(state, torch.tensor([frame.action])).state
        assert shown[-1].action is None
        assert shown[-1].total == episode.outcome
        assert shown[0].last_action is None
        assert [frame.last_action for frame in shown[1:]] == episode.actions
        assert [frame.last_mover for frame in shown[1:]] == [frame.to_play for frame in shown[:-1]]
