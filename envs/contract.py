"""The contract of every game: each check yields what is wrong (see envs.check)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from envs import playthrough
from envs.contract_boards import symmetry_tables
from envs.game import ObservationKind, Timestep, episode_seed, has_explicit_chance
from envs.tokens import PADDING, VOCABULARY
from envs.trial import Finding, Play, Skip, Trial, clone, equal, first_row, guard, random_move, rows_equal


def spec(trial: Trial) -> Iterator[Finding]:
    """What can be seen without playing."""
    spec = trial.spec
    keys = spec.keys()
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        yield Finding(f"action_keys gives {twice[0]!r} to more than one action", "Give every action its own key")
    low, high = spec.reward_range
    if not low <= high:
        yield Finding(f"reward_range is {spec.reward_range}", "Write (lowest, highest) reward of one step")
    if spec.max_length is not None and spec.max_length < 1:
        yield Finding(f"max_length is {spec.max_length}", "Write how many moves a game takes at most, or None")
    grid = spec.observation.kind in (ObservationKind.GRID, ObservationKind.PIXELS)
    if grid and len(spec.observation.shape) != 3:
        yield Finding(
            f"a {spec.observation.kind} observation of shape {spec.observation.shape}", "Its shape is (C, H, W)"
        )
    if spec.board_planes and (spec.observation.kind is not ObservationKind.GRID or spec.observation.shape[0] < 2):
        yield Finding(
            f"board_planes with a {spec.observation.kind} observation of shape {spec.observation.shape}",
            "Planes 0 and 1 of a grid must be mine and theirs; else leave board_planes out",
        )
    rules = trial.game.native
    missing = [name for name in ("decide", "chances", "resolve") if not callable(getattr(rules, name, None))]
    if spec.num_outcomes and missing:
        yield Finding(
            f"num_outcomes is {spec.num_outcomes}, but there is no {', '.join(missing)}",
            "Write decide, chances and resolve (envs.game.ChanceGame), or leave num_outcomes out",
        )
    if spec.native != (trial.game.native is not None):
        yield Finding(
            f"spec.native is {spec.native}", "Set native=True for native rules, and only for them", broken=False
        )
    if spec.symmetries is not None:
        yield from symmetry_tables(spec)


def shapes(trial: Trial) -> Iterator[Finding]:
    """Shapes, types, finite numbers, a legal move in every position: the play itself looks at each step."""
    start = trial.play.shown[0]
    if trial.spec.observation.kind is ObservationKind.TOKENS:
        for step, now in enumerate(trial.play.shown):
            strange = ((now.observation < 0) | (now.observation >= VOCABULARY)).any(1)
            if bool(strange.any()):
                problem = f"tokens outside 0 to {VOCABULARY - 1}"
                yield Finding(problem, "Use the vocabulary of envs.tokens", first_row(strange), step)
                return
    for field in ("reward", "terminated", "truncated"):
        wrong = (getattr(start, field) != 0).reshape(trial.num_copies, -1).any(1)
        if bool(wrong.any()):
            yield Finding(f"{field} is set after reset()", "A reset has no reward and no end", first_row(wrong), 0)


def commands(trial: Trial) -> Iterator[Finding]:
    """What can be said: a text for every legal action, right-aligned, no two alike, padding for the others."""
    spec = trial.spec
    if not spec.action_tokens:
        raise Skip("only for games whose commands vary (action_tokens)")
    for step, now in enumerate(trial.play.shown):
        said = spec.commands(now.observation)
        silent = (said == PADDING).all(2)
        if not torch.equal(~silent, now.legal):
            copy = first_row((silent == now.legal).any(1))
            problem = (
                f"actions {torch.nonzero(~silent[copy]).flatten().tolist()} say something, legal are "
                f"{torch.nonzero(now.legal[copy]).flatten().tolist()}"
            )
            advice = "List the commands that can be given now, and padding behind them (envs.tokens.encode_position)"
            yield Finding(problem, advice, copy, step)
            return
        behind = ((said[..., :-1] != PADDING) & (said[..., 1:] == PADDING)).any(2)
        if bool(behind.any()):
            copy = first_row(behind.any(1))
            problem = f"padding stands behind tokens of what action {int(behind[copy].long().argmax())} says"
            yield Finding(problem, "Put all padding in front (envs.tokens.encode)", copy, step)
            return
        for copy in range(trial.num_copies):
            texts = said[copy][now.legal[copy]]
            if len(texts.unique(dim=0)) < len(texts):
                problem, advice = "two legal actions say the same", "Raise action_tokens, or leave one of them out"
                yield Finding(problem, advice, copy, step)
                return


def box(trial: Trial) -> Iterator[Finding]:
    """Every point of the box can be played, and it matters which."""
    spec = trial.spec
    if spec.box is None:
        raise Skip("only for games with continuous actions (box)")
    plays = []
    for place in (0.0, 0.5, 1.0):
        environment = trial.environment(trial.num_copies)
        action = spec.box.at(torch.full((trial.num_copies, spec.box.num_dimensions), place))
        plays.append(trial.run(environment, [action] * min(trial.num_moves, 20)))
        environment.close()
    if not any(True for other in plays[1:] for _ in differences(plays[0], other, "", "")):
        problem = "lower bounds, middle and upper bounds of the box all led to the same"
        yield Finding(problem, "Play the action that is given, [B, D] in the units of the box", broken=False)


def ends(trial: Trial) -> Iterator[Finding]:
    """Never both ends at once; a game of a stated length keeps to it."""
    length = torch.zeros(trial.num_copies, dtype=torch.int64)
    for step, now in enumerate(trial.play.shown[1:], start=1):
        length += 1
        both = now.terminated & now.truncated
        if bool(both.any()):
            advice = "terminated is for the rules, truncated for limits; when both hold, only terminated is True"
            yield Finding("terminated and truncated at once", advice, first_row(both), step)
            return
        limit = trial.spec.max_length
        ended = now.terminated | now.truncated
        if limit is not None and bool(((length >= limit) & ~ended).any()):
            copy = first_row((length >= limit) & ~ended)
            problem = f"an episode goes on after {int(length[copy])} moves, spec.max_length is {limit}"
            yield Finding(problem, "Truncate at the limit, or state the true one", copy, step)
            return
        length[ended] = 0
    if not any(True for _ in trial.endings()):
        raise Skip(f"no episode ended within {trial.num_moves} random moves")


def rewards(trial: Trial) -> Iterator[Finding]:
    """Range and zero sum."""
    low, high = trial.spec.reward_range
    for step, now in enumerate(trial.play.shown):
        outside = ((now.reward < low) | (now.reward > high)).any(1)
        if bool(outside.any()):
            copy = first_row(outside)
            problem = f"reward {now.reward[copy].tolist()} outside spec.reward_range {trial.spec.reward_range}"
            yield Finding(problem, "Correct the reward or the range", copy, step)
            return
        unequal = now.reward.sum(1) != 0
        if trial.spec.zero_sum and bool(unequal.any()):
            copy = first_row(unequal)
            problem = f"reward {now.reward[copy].tolist()} does not sum to zero in a zero_sum game"
            advice = "What one seat wins the other loses; or leave zero_sum out"
            yield Finding(problem, advice, copy, step)
            return


def differences(one: Play, other: Play, advice: str, what: str) -> Iterator[Finding]:
    """The first difference between two plays that should be equal."""
    for step, (left, right) in enumerate(zip(one.shown, other.shown, strict=True)):
        for field in Timestep._fields:
            same = rows_equal(getattr(left, field), getattr(right, field))
            if not bool(same.all()):
                yield Finding(f"{field} differs {what}", advice, first_row(~same), step)
                return


def final(trial: Trial) -> Iterator[Finding]:
    """Auto-reset keeps the last observation."""
    lost, where = [], None
    for step, now in enumerate(trial.play.shown):
        ended = now.terminated | now.truncated
        same = rows_equal(now.final_observation, now.observation) & (now.final_to_play == now.to_play)
        if bool((~ended & ~same).any()):
            copy = first_row(~ended & ~same)
            problem = "final_observation or final_to_play differs from observation or to_play though nothing ended"
            yield Finding(problem, "Where no episode ended they are the same", copy, step)
            return
        lost += rows_equal(now.final_observation, now.observation)[ended].tolist()
        where = where or ((first_row(ended), step) if bool(ended.any()) else None)
    if where is None:
        raise Skip(f"no episode ended within {trial.num_moves} random moves")
    start = trial.play.shown[0].observation
    varies = any(not bool(rows_equal(now.observation, start).all()) for now in trial.play.shown)
    if all(lost) and len(lost) >= 3 and varies:
        yield Finding(
            f"final_observation was the next episode's first observation in all {len(lost)} episodes that ended",
            "Keep the last observation before the copy begins anew, and return it as final_observation",
            *where,
        )


def next_episode(trial: Trial) -> Iterator[Finding]:
    """Episode n of copy b begins as its own seed says."""
    number = np.zeros(trial.num_copies, np.int64)
    looked_at = 0
    environment = trial.environment(1)
    for step, copy in trial.endings():
        number[copy] += 1
        if looked_at == 8:
            break
        looked_at += 1
        seed = episode_seed(trial.seed, copy, int(number[copy]))
        first = environment.reset(np.array([seed]))
        now = trial.play.shown[step]
        for field in ("observation", "legal", "to_play"):
            if not bool(rows_equal(getattr(first, field), getattr(now, field)[copy : copy + 1]).all()):
                yield Finding(
                    f"{field} after the end of an episode is not that of a reset with the next episode's seed ({seed})",
                    "Begin episode n of copy b from episode_seed(seed, b, n) alone, and forget all that came before",
                    copy, step,
                )  # fmt: skip
                environment.close()
                return
    environment.close()
    if not looked_at:
        raise Skip(f"no episode ended within {trial.num_moves} random moves")


def determinism(trial: Trial) -> Iterator[Finding]:
    """The same seed and moves give the same play, also while another environment is played."""
    environment = trial.environment(trial.num_copies)
    again = trial.run(environment, trial.play.actions)
    environment.close()
    advice = "Take all chance from the episode's seed: no clock, no global generator, no unordered sets"
    found = list(differences(trial.play, again, advice, "when the same moves are played again under the same seed"))
    if found:
        yield from found
        return
    environment, other = trial.environment(trial.num_copies), trial.environment(trial.num_copies, trial.seed + 1)
    state: list[Any] = [guard(other.reset, "reset()", 0)]
    random = np.random.default_rng(trial.seed + 1)

    def meddle() -> None:
        state[0] = other.step(random_move(trial.spec, state[0].legal, random))

    among = trial.run(environment, trial.play.actions, meddle)
    environment.close()
    other.close()
    advice = "Keep all state in the environment (native rules: in the state), none in the class or the module"
    yield from differences(trial.play, among, advice, "when another environment is played in between")


def copies(trial: Trial) -> Iterator[Finding]:
    """An episode is the same alone as among others."""
    for copy in range(trial.num_copies):
        ended = [step for step, which in trial.endings() if which == copy]
        until = ended[0] if ended else len(trial.play.actions)
        environment = trial.environment(1)
        alone = [environment.reset(np.array([episode_seed(trial.seed, copy, 0)]))]
        for action in trial.play.actions[:until]:
            step = functools.partial(environment.step, action[copy : copy + 1])
            alone.append(guard(step, "step() alone", len(alone)))
        environment.close()
        for step, (among, single) in enumerate(zip(trial.play.shown, alone, strict=False)):
            for field in ("final_observation", "final_to_play", "reward", "terminated", "truncated"):
                if not bool(rows_equal(getattr(among, field)[copy : copy + 1], getattr(single, field)).all()):
                    yield Finding(
                        f"{field} of this copy differs when its moves are played alone from the same seed",
                        "Copies must not share state: give each its own board, generator and counters",
                        copy, step,
                    )  # fmt: skip
                    return


def restore(trial: Trial) -> Iterator[Finding]:
    """state_dict() and load_state_dict() continue to the bit, in a fresh environment and in a used one."""
    half = _middle(trial)
    environment = trial.environment(trial.num_copies)
    environment.reset()
    for action in trial.play.actions[:half]:
        environment.step(action)
    state = environment.state_dict()
    foreign = next(_foreign(state), None)
    if foreign is not None:
        yield Finding(f"state_dict() holds {foreign}", "Use tensors, numbers, texts, None, and dicts and lists of them")
        return
    kept = clone(state)
    for action in trial.play.actions[half:]:
        environment.step(action)
    if not equal(kept, state):
        yield Finding("state_dict() changed while the game went on", "Return copies (clone()), not the tensors in use")
    fresh = trial.environment(trial.num_copies)
    for which, target in (("a fresh environment", fresh), ("one that had played on", environment)):
        shown = [guard(lambda target=target: target.load_state_dict(clone(kept)), "load_state_dict()", half)]
        before = trial.play.shown[half]
        for field in ("observation", "legal", "to_play"):
            same = rows_equal(getattr(shown[0], field), getattr(before, field))
            if not bool(same.all()):
                problem = f"{field} after load_state_dict() into {which} is not what was saved"
                yield Finding(problem, RESTORE, first_row(~same), half)
                return
        shown += [target.step(action) for action in trial.play.actions[half:]]
        rest = Play(trial.play.shown[half + 1 :], [])
        for finding in differences(rest, Play(shown[1:], []), RESTORE, f"after load_state_dict() into {which}"):
            yield dataclasses.replace(finding, step=half + 1 + (finding.step or 0))
            return
    fresh.close()
    environment.close()


def chance(trial: Trial) -> Iterator[Finding]:
    """What `play` draws are the outcomes that `chances` announces, as often as it says."""
    rules, spec = trial.game.native, trial.spec
    if rules is None or not has_explicit_chance(rules):
        raise Skip("only for native rules with explicit chance (num_outcomes)")
    seeds = episode_seed(trial.seed, np.arange(CHANCE_COPIES), 0)
    state, random = rules.initial(torch.as_tensor(seeds)), np.random.default_rng(trial.seed)
    expected, variance, seen = (torch.zeros(spec.num_outcomes, dtype=torch.float64) for _ in range(3))
    for step in range(min(trial.num_moves, CHANCE_MOVES)):
        action = random_move(spec, rules.legal(state), random)
        kept = clone(dict(state._asdict()))
        played, after = rules.play(state, action), rules.decide(state, action)
        if not equal(kept, dict(state._asdict())):
            yield Finding("decide changed the state that it was given", "Return new tensors", step=step)
            return
        chances = rules.chances(after)
        shape, rows = (CHANCE_COPIES, spec.num_outcomes), torch.arange(CHANCE_COPIES)
        if chances.shape != shape or bool((chances < 0).any()) or bool(((chances.sum(1) - 1).abs() > 1e-5).any()):
            sums = chances.sum(-1)
            problem = (
                f"chances() has shape {tuple(chances.shape)} and rows that sum to {sums.min():g} to {sums.max():g}"
            )
            yield Finding(problem, f"Return probabilities {list(shape)} that sum to 1 in every row", step=step)
            return
        found = torch.zeros(shape, dtype=torch.bool)
        for outcome in range(spec.num_outcomes):
            made = rules.resolve(after, torch.full_like(rows, outcome))
            same = rows_equal(made.reward, played.reward) & (made.terminated == played.terminated)
            for one, other in zip(made.state, played.state, strict=True):
                same &= rows_equal(one, other)
            found[:, outcome] = same & (chances[:, outcome] > 0)
        if not bool(found.any(1).all()):
            advice = "play must be decide, one draw, and resolve: derive from envs.chance.Chance"
            yield Finding("play led to what no possible outcome leads to", advice, first_row(~found.any(1)), step)
            return
        drawn = (found.sum(1) == 1) & ((chances > 0).sum(1) > 1)  # what is certain or cannot be told apart says nothing
        p = chances[drawn].double()
        expected, variance, seen = expected + p.sum(0), variance + (p * (1 - p)).sum(0), seen + found[drawn].sum(0)
        alive = ~played.terminated
        if not bool(alive.any()):
            return
        state = type(state)(*(part[alive][rows % int(alive.sum())] for part in played.state))
        if hasattr(state, "key"):  # rows that were copied must not draw the same
            state = state._replace(key=state.key + rows)
    off = (seen - expected).abs() > 6 * variance.clamp(min=1).sqrt() + 1
    if bool(off.any()):
        outcome = first_row(off)
        yield Finding(
            f"outcome {outcome} was drawn {int(seen[outcome])} times, chances() announced {expected[outcome]:.1f}",
            "Draw with the announced probabilities: derive from envs.chance.Chance",
        )


def golden(trial: Trial) -> Iterator[Finding]:
    """Recorded games are played again as they were."""
    path = playthrough.path_of(trial.game)
    if not path.is_file():
        raise Skip("no recorded games (`gurgeh games check --record` writes them)")
    for problem, move in guard(lambda: list(playthrough.differences(trial.game, path)), f"playing {path.name}", None):
        advice = "Raise `version` and record anew (--record) if the game is meant to have changed; else restore it"
        yield Finding(problem, advice, step=move)


def _middle(trial: Trial) -> int:
    """The move in the middle third before which most moves of running episodes had been played (few count as many)."""
    length = torch.zeros(trial.num_copies, dtype=torch.int64)
    best = (-1, 0)
    for step, now in enumerate(trial.play.shown):
        length = torch.where(now.terminated | now.truncated, 0, length + (step > 0))
        if len(trial.play.actions) <= 3 * step <= 2 * len(trial.play.actions):
            best = max(best, (int(length.clamp(max=8).sum()), -step))
    return -best[1]


CHANCE_COPIES, CHANCE_MOVES = 64, 40  # what the draws of chance are counted on
RESTORE = "Save all that the next steps depend on: state, episode numbers, lengths, seeds, generators"


def _foreign(value: Any, path: str = "") -> Iterator[str]:
    """Leaves that a checkpoint cannot hold."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                yield f"the key {key!r}"
            yield from _foreign(inner, f"{path}[{key!r}]")
    elif isinstance(value, list):
        for inner in value:
            yield from _foreign(inner, f"{path}[]")
    elif not isinstance(value, Tensor | bool | int | float | str | None):
        yield f"a {type(value).__name__} at {path}"


def purity(trial: Trial) -> Iterator[Finding]:
    """Native rules do not change their arguments, and answer for positions after the end too."""
    rules = trial.game.native
    if rules is None:
        raise Skip("only for native rules")
    seeds = episode_seed(trial.seed, np.arange(trial.num_copies), 0)
    state = rules.initial(torch.as_tensor(seeds))
    for step, action in enumerate(trial.play.actions):
        for field, value in state._asdict().items():
            if not isinstance(value, Tensor) or len(value) != trial.num_copies:
                yield Finding(f"state.{field} is no tensor with {trial.num_copies} rows", "One row a copy", step=step)
                return
        kept, kept_action = clone(dict(state._asdict())), action.clone()
        for look in (rules.legal, rules.observe, rules.to_play):
            look(state)
        played = rules.play(state, action)
        if not equal(kept, dict(state._asdict())) or not torch.equal(kept_action, action):
            advice = "Use functions that return new tensors (scatter, where), none that write (scatter_, x[i] = ...)"
            yield Finding("legal, observe, to_play or play changed the state they were given", advice, step=step)
            return
        state = played.state
        if not bool(rules.legal(state).any(1).all()):
            copy = first_row(~rules.legal(state).any(1))
            yield Finding(
                "legal() is empty after the end of a game", "Allow anything then: no row may be all False", copy, step
            )
            return
        if bool(played.terminated.any()):
            return
