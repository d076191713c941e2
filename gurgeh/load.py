"""From a run on disk to a player: the averaged network of a checkpoint, without the rest of the training state."""

from __future__ import annotations

from pathlib import Path

from agents.acting import SearchConfig, ValueScales
from agents.agent import NetworkPlayer
from agents.alphazero import rules_of
from agents.network import MultiGameNetwork
from agents.rules import RulesPlayer, network_player, no_exact_rules
from envs import registry
from envs.game import Game
from gurgeh.checkpoint import read_manifest
from gurgeh.config import RunConfig
from gurgeh.configure import from_dict
from gurgeh.rundir import RunDirectory


class LoadedRun:
    """The network of one checkpoint and what is needed to play with it."""

    def __init__(self, path: str | Path, checkpoint: int | None = None):
        """checkpoint: its update; None: the newest. ValueError for a damaged file or a run without checkpoints."""
        run = RunDirectory.open(path)
        self.path, self.config = run.path, from_dict(RunConfig, run.config)
        self.step, state = run.load_weights(checkpoint)
        self.network = MultiGameNetwork(self.config.network, seed=self.config.seed)
        self.games: dict[str, Game] = {}
        for name, saved in state["games"].items():
            game = registry.make(saved["made_from"])
            if game.spec.version != saved["version"]:
                raise ValueError(
                    f"{name} is version {game.spec.version} now and was {saved['version']} when {path} was saved: its "
                    "rules have changed, and this checkpoint plays the old ones"
                )
            self.network.add_game(game.spec)
            self.games[name] = game
        try:
            self.network.load_state_dict(state["learner"]["averaged"])
        except RuntimeError as error:
            raise ValueError(
                f"{path}: checkpoint {self.step} does not fit the network of its config.yaml: "
                f"{str(error).splitlines()[-1].strip()}"
            ) from error
        self.network.requires_grad_(False)
        self.scales = ValueScales(noise_weight=self.config.search.noise_weight, by_hand=self.config.search.q_unit)
        self.scales.load_state_dict(state["scales"])

    def manifest_hash(self) -> str:
        """The sha256 that the manifest of the checkpoint, or else of the snapshot, gives itself."""
        run = RunDirectory.open(self.path)
        manifests = map(read_manifest, (*run.checkpoints(), *run.snapshots()))
        return next(manifest["sha256"] for manifest in manifests if manifest["step"] == self.step)

    @property
    def search(self) -> SearchConfig:
        """The search settings that the run was trained with."""
        return self.config.search

    def player(
        self, game: Game | str, simulations: int, greedy: bool = True, rules: bool | None = None
    ) -> NetworkPlayer | RulesPlayer:
        """The network as a player of one of its games; simulations 0: the raw policy.

        rules: whether to search with the game's own rules; None: as in training. ValueError for rules that the game
        lacks or a learned model that the run never trained.
        """
        name = game if isinstance(game, str) else game.spec.name
        if name not in self.games:
            raise ValueError(f"{self.path} does not play {name}; it plays {', '.join(self.games)}")
        as_trained = rules is None and rules_of(self.games[name], self.search) is not None
        if rules or (as_trained and simulations):
            return self.rules_player(name, simulations, greedy)
        if simulations and not self.config.learner.unroll:
            raise ValueError(
                f"{self.path} was trained with learner.unroll=0: it has no learned model to search with; search with "
                "the rules, or play the raw policy with 0 simulations"
            )
        return NetworkPlayer(
            self.network, self.games[name].spec, self.search, self.scales[name], simulations, greedy,
            name=f"{self.path.name}@{self.step}",
        )  # fmt: skip

    def rules_player(self, name: str, simulations: int, greedy: bool = True) -> RulesPlayer:
        """The network as a player that searches with the rules of the game `name`, not with a learned model."""
        game = self.games[name]
        reason = no_exact_rules(game.spec, game.native)
        if reason or game.native is None:
            raise ValueError(reason)
        return network_player(
            self.network, game.native, self.search, self.scales[name], simulations, greedy,
            name=f"{self.path.name}@{self.step}+rules",
        )  # fmt: skip


def load_player(
    path: str | Path, game: Game, simulations: int, greedy: bool = True, checkpoint: int | None = None
) -> NetworkPlayer | RulesPlayer:
    """The player of `game` from a checkpoint of the run at `path`."""
    return LoadedRun(path, checkpoint).player(game, simulations, greedy)
