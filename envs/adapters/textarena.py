"""TextArena: games of talk (MIT, `pip install 'gurgeh[textarena]'`), played against copies of the agent.

    textarena/SimpleNegotiation-v0     two traders; who gains more by offers wins
    textarena/SecretMafia-v0           hidden roles: six players, two of them the Mafia
    textarena/Taboo-v0-animals         a word game: two teams of two, one gives clues, the other guesses

TextArena's games take any text. Here the seat to move has a list of admissible commands, each a text that the game
understands, so that nobody loses by a wrong form:

  * Negotiation: accept, deny, or offer 1 to 3 of one resource for 1 to 3 of another that one has.
  * Mafia: by night and in the vote the players that may be named; in the discussion one of a few statements about a
    player or oneself, true or not.
  * Taboo: the words of the category as guesses; as clues, the first letter and the number of letters, unless such a
    clue has a forbidden word in it. Commands vary (`GameSpec.action_tokens`): they are TextArena's own words.

What the mover sees is `BRIEF` tokens of what it knows of the game (the prompt's facts, kept up to date) and the last
`TALK` tokens of what was said to it, each speech after a mark (envs.tokens). TextArena draws from Python's global
generator; every copy has a state of it to itself, which is put in place for the call and taken out after it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import random
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from envs import tokens
from envs.game import Game, GameSpec, ObservationKind, ObservationSpec, installed
from envs.wrapped import CopiesEnvironment

PACKAGE = ("textarena", "textarena", "textarena")  # module, distribution, extra
BRIEF, TALK = 160, 224  # tokens
VERSION = 1


class Talk(NamedTuple):
    """How one of TextArena's games is played here."""

    num_players: int
    zero_sum: bool
    chance: bool  # moves have outcomes that are drawn
    max_length: int
    admissible: Callable[[Any], list[str]]  # what the seat to move may say
    brief: Callable[[Any, int], str]  # what a seat knows
    commands: Callable[[Any], tuple[str, ...]] | None = None  # all commands of the game, in order; None: they vary
    num_actions: int = 0  # most commands at once, where they vary
    action_tokens: int = 0


# -- negotiation ---------------------------------------------------------------------------------------------------

AMOUNTS = ((1, 1), (1, 2), (2, 1), (1, 3), (3, 1))  # offered, wanted
ACCEPT, DENY = "[Accept]", "[Deny]"


def _offers(env: Any) -> list[tuple[str, str, int]]:
    """(text, resource that is offered, how many) of every offer there is."""
    return [
        (f"[Offer: {give} {mine} -> {take} {theirs}]", mine, give)
        for mine in env.resource_names for theirs in env.resource_names if mine != theirs for give, take in AMOUNTS
    ]  # fmt: skip


def _can_accept(state: dict[str, Any], seat: int) -> bool:
    """There is an offer of the other's, and both have what they would give."""
    offer = state["current_offer"]
    if not offer or offer["from_player"] == seat:
        return False
    held = state["player_resources"]
    return all(
        held[who].get(resource, 0) >= amount
        for who, goods in ((seat, offer["requested_resources"]), (1 - seat, offer["offered_resources"]))
        for resource, amount in goods.items()
    )


def _negotiate(env: Any) -> list[str]:
    state, seat = env.state.game_state, env.state.current_player_id
    held = state["player_resources"][seat]
    return [
        *([ACCEPT] if _can_accept(state, seat) else []), DENY,
        *(text for text, mine, give in _offers(env) if held[mine] >= give),
    ]  # fmt: skip


def _trader(env: Any, seat: int) -> str:
    state = env.state.game_state
    held, worth = state["player_resources"][seat], state["player_values"][seat]
    goods = ", ".join(f"{held[name]} {name} at {worth[name]}" for name in env.resource_names)
    gain, offer = state["inventory_value"][seat]["change"], ""
    if state["current_offer"]:
        sides = [
            ", ".join(f"{amount} {name}" for name, amount in state["current_offer"][side].items())
            for side in ("offered_resources", "requested_resources")
        ]
        who = "You offer" if state["current_offer"]["from_player"] == seat else "Offered"
        offer = f" {who} {sides[0]} for {sides[1]}."
    return f"{goods}. Gain {gain:+d}. Turn {env.state.turn + 1} of {env.max_turns + 1}.{offer}"


# -- Mafia ---------------------------------------------------------------------------------------------------------

MAFIA_PLAYERS = 6
ABOUT = ("I suspect Player {}.", "I trust Player {}.", "I know that Player {} is Mafia.",
         "I know that Player {} is not Mafia.")  # fmt: skip
MYSELF = ("I have nothing to say.", "I am a Villager.", "I am the Doctor.", "I am the Detective.")
STATEMENTS = (*MYSELF, *(form.format(player) for form in ABOUT for player in range(MAFIA_PLAYERS)))
NAMED = tuple(f"[{player}]" for player in range(MAFIA_PLAYERS))


def _mafia(env: Any) -> list[str]:
    seat, alive = env.state.current_player_id, env.state.game_state["alive_players"]
    phase = env.phase.value
    if phase == "Day-Discussion":
        others = [player for player in alive if player != seat]
        return [*MYSELF, *(form.format(player) for form in ABOUT for player in others)]
    if phase == "Day-Voting":
        named = alive
    elif phase == "Night-Mafia":
        named = [player for player in alive if env.player_roles[player] != "Mafia"]
    else:
        named = [player for player in alive if player != seat]
    return [NAMED[player] for player in named]


def _suspect(env: Any, seat: int) -> str:
    role = env.player_roles[seat]
    team = ""
    if role == "Mafia":
        others = [str(player) for player, other in env.player_roles.items() if other == role and player != seat]
        team = f" with Player {' and '.join(others)}" if others else ""
    alive = " ".join(map(str, env.state.game_state["alive_players"]))
    return f"You are Player {seat}, {role}{team}. Alive: {alive}. {env.phase.value}."


# -- Taboo ---------------------------------------------------------------------------------------------------------

LETTERS = range(3, 16)  # numbers of letters that a clue may name
CLUES = (*(f"It starts with {chr(letter)}." for letter in range(ord("A"), ord("Z") + 1)),
         *(f"It has {count} letters." for count in LETTERS))  # fmt: skip
SILENCE = "..."  # the clue where every other one has a forbidden word in it


def _taboo(env: Any) -> list[str]:
    if env.state.role_mapping[env.state.current_player_id] == "Guesser":
        return [f"[{word}]" for word in sorted(env.data)]
    state = env.state.game_state
    forbidden = "|".join(map(re.escape, [state["word_to_guess"], *state["taboo_words"]]))
    return [clue for clue in CLUES if not re.search(rf"\b({forbidden})\b", clue, re.IGNORECASE)] or [SILENCE]


def _teammate(env: Any, seat: int) -> str:
    state, team = env.state.game_state, seat // env.team_size
    score = f"Team {team}, {state['score'][team]} to {state['score'][1 - team]}, round {state['round']}."
    if env.state.role_mapping[seat] == "Guesser":
        return f"Guess. {score}"
    if state["current_team"] != team:
        return f"Give clues. {score}"
    return f"The word is {state['word_to_guess']}. {score}"


TABOO_PLAYERS = 4

TALKS = {  # by what an id begins with
    "SimpleNegotiation-v0": lambda env: Talk(
        2, True, False, env.max_turns + 1, _negotiate, _trader,  # the limit is looked at before the turn is counted
        lambda env: (ACCEPT, DENY, *(text for text, _, _ in _offers(env))),
    ),
    "SecretMafia-v0": lambda env: Talk(
        MAFIA_PLAYERS, False, True, MAFIA_PLAYERS * (MAFIA_PLAYERS * (env.discussion_rounds + 1) + 4), _mafia,
        _suspect, lambda env: (*STATEMENTS, *NAMED),
    ),
    "Taboo-v0": lambda env: Talk(
        TABOO_PLAYERS, False, False, env.max_rounds * env.max_attempts_per_player * (TABOO_PLAYERS // 2), _taboo,
        _teammate, None, max(len(env.data), len(CLUES)),
        max(len(text.encode()) for text in (*map("[{}]".format, env.data), *CLUES)),
    ),
}  # fmt: skip
NAMES = (
    "SimpleNegotiation-v0", "SimpleNegotiation-v0-short", "SimpleNegotiation-v0-long", "SecretMafia-v0",
    "Taboo-v0", "Taboo-v0-animals", "Taboo-v0-cars", "Taboo-v0-food", "Taboo-v0-literature",
)  # fmt: skip


def names() -> list[str]:
    """The games that can be played; nothing when TextArena is missing."""
    try:
        installed(*PACKAGE)
    except ValueError:
        return []
    return [f"textarena/{name}" for name in NAMES]


def make(rest: str) -> Game:
    """One of `NAMES`."""
    installed(*PACKAGE)
    if rest not in NAMES:
        from envs.registry import unknown

        raise ValueError(unknown(f"textarena/{rest}", names()))
    env = _make_one(rest)
    talk = next(made for begin, made in TALKS.items() if rest.startswith(begin))(env)
    commands = talk.commands(env) if talk.commands else None
    num_actions = len(commands) if commands else talk.num_actions
    spec = GameSpec(
        name=f"textarena/{rest}",
        observation=ObservationSpec(
            ObservationKind.TOKENS, (BRIEF + TALK + num_actions * talk.action_tokens,), tokens.DTYPE
        ),
        num_actions=num_actions,
        version=VERSION,
        num_players=talk.num_players,
        zero_sum=talk.zero_sum,
        stochastic=talk.chance,
        perfect_information=False,
        reward_range=(-1.0, 1.0),
        max_length=talk.max_length,
        family="talk",
        action_keys=tuple(f"command {command}" for command in commands) if commands else None,
        action_tokens=talk.action_tokens,
    )
    return Game(spec.name, spec, functools.partial(TextArenaEnvironment, spec, talk, rest, commands))


class TextArenaEnvironment(CopiesEnvironment):
    """Copies of one game; all seats are played by who plays the environment."""

    def __init__(
        self, spec: GameSpec, talk: Talk, name: str, commands: tuple[str, ...] | None, num_copies: int, seed: int
    ):
        super().__init__(spec, num_copies, seed)
        self._talk, self._commands = talk, commands
        self._number = {command: number for number, command in enumerate(commands or ())}
        self._envs = [_make_one(name) for _ in range(num_copies)]
        self._random: list[Any] = [None] * num_copies  # states of Python's generator
        self._heard: list[list[list[int]]] = [[] for _ in range(num_copies)]  # tokens, by seat
        self._said: list[list[str]] = [[] for _ in range(num_copies)]  # what each action says

    def begin_copy(self, copy: int, seed: int) -> None:
        """Reset with the episode's seed."""
        self._random[copy] = random.Random(seed).getstate()
        with self._own_randomness(copy):
            self._envs[copy].reset(num_players=self.spec.num_players, seed=seed)
        self._heard[copy] = [[] for _ in range(self.spec.num_players)]
        self._show_copy(copy, False)

    def play_copy(self, copy: int, action: int) -> tuple[Any, bool, bool]:
        """Say one thing. Rewards come at the end."""
        env, reward = self._envs[copy], np.zeros(self.spec.num_players, np.float32)
        text = self._said[copy][action]
        with self._own_randomness(copy):
            over, _ = env.step(text)
        if over:
            for seat, value in env.state.rewards.items():
                reward[seat] = value
        self._show_copy(copy, over)
        return reward, over, False

    @contextlib.contextmanager
    def _own_randomness(self, copy: int) -> Iterator[None]:
        """Python's global generator is the copy's own while its game is called."""
        others = random.getstate()
        random.setstate(self._random[copy])
        try:
            yield
        finally:
            self._random[copy] = random.getstate()
            random.setstate(others)

    def _show_copy(self, copy: int, over: bool) -> None:
        """What the seat to move has heard and may say. After the end anything may be said."""
        env = self._envs[copy]
        seat, messages = env.get_observation()
        heard = self._heard[copy][seat]
        for sender, message, kind in messages:
            if kind.name != "PROMPT":  # its facts are in the brief
                heard += _speech(sender, seat, message)
        del heard[:-TALK]
        self.to_play[copy] = seat
        admissible = [] if over else self._talk.admissible(env)
        text = [
            *tokens.encode(self._talk.brief(env, seat) + "\n", BRIEF).tolist(),
            *[tokens.PADDING] * (TALK - len(heard)),
        ]
        if self._commands is None:
            shown = tokens.encode_position(b"", admissible, self.spec).numpy()
            shown[: BRIEF + TALK] = [*text, *heard]
            self.observation[copy] = shown
            self._said[copy] = admissible
            self.legal[copy] = np.arange(self.spec.num_actions) < len(admissible)
        else:
            self.observation[copy] = [*text, *heard]
            self._said[copy] = list(self._commands)
            self.legal[copy] = False
            self.legal[copy, [self._number[command] for command in admissible]] = True
        if over:
            self.legal[copy] = True


def _speech(sender: int, seat: int, message: str) -> list[int]:
    """A message as tokens: after a mark and, of other players, their number."""
    if sender == seat:
        return [tokens.COMMAND, *message.encode()]
    who = f"{sender}: " if sender >= 0 else ""
    return [tokens.OTHER, *who.encode(), *message.encode()]


def _make_one(name: str) -> Any:
    """The game itself, without the wrappers that write its texts for language models."""
    module = importlib.import_module("textarena")
    state = random.getstate()
    try:
        return module.make(f"{name}-raw")
    finally:
        random.setstate(state)
