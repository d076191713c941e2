"""Trains LightZero's stock MuZero on a game until its own rule stops it; runs in LightZero's environment.

  PYTHON learning_lightzero_worker.py cartpole SEED LOG

LOG gets a line of JSON at the start, after every collection and after every evaluation. Changed in the stock
configuration: no CUDA, the folder that it writes to (the present one), the seed.
"""

import importlib
import json
import sys
import time
from typing import Any

BEGAN = time.time()
CONFIGS = {
    "cartpole": "zoo.classic_control.cartpole.config.cartpole_muzero_config",
    "tictactoe": "zoo.board_games.tictactoe.config.tictactoe_muzero_sp_mode_config",
    "tictactoe-bot": "zoo.board_games.tictactoe.config.tictactoe_muzero_bot_mode_config",
}


def main(game, seed, path):
    """Run train_muzero with the collector and the evaluator watched."""
    with open(path, "a", buffering=1) as log:
        stock = importlib.import_module(CONFIGS[game])
        config, create = stock.main_config, stock.create_config
        config.policy.cuda = False
        config.exp_name = f"lightzero-{game}-{seed}"
        # The package exports the function under the module's own name, so that only importlib finds the module.
        entry = importlib.import_module("lzero.entry.train_muzero")
        spent = {"evaluating": 0.0}

        def note(kind, **fields):
            line = {"kind": kind, "seconds": time.time() - BEGAN, "evaluating": spent["evaluating"], **fields}
            log.write(json.dumps(line) + "\n")

        class Collector(entry.Collector):
            def collect(self, *args, **kwargs):
                data = super().collect(*args, **kwargs)
                note("collect", train_iter=int(kwargs.get("train_iter", 0)), env_steps=int(self.envstep))
                return data

        class Evaluator(entry.Evaluator):
            def eval(self, save=None, train_iter=-1, envstep=-1, *args, **kwargs):
                began = time.time()
                stop, info = super().eval(save, train_iter, envstep, *args, **kwargs)
                spent["evaluating"] += time.time() - began
                returns: Any = info.get("eval_episode_return") if isinstance(info, dict) else info
                returns = [float(one) for one in returns] if hasattr(returns, "__len__") else [float(returns)]
                note("evaluation", train_iter=int(train_iter), env_steps=int(envstep), returns=returns, stop=bool(stop))
                return stop, info

        vars(entry).update(Collector=Collector, Evaluator=Evaluator)
        import numpy
        import torch

        note(
            "start",
            versions={"torch": torch.__version__, "numpy": numpy.__version__},
            threads=torch.get_num_threads(),
            stop_value=float(config.env.get("stop_value", 1)),
            episodes=int(config.env.n_evaluator_episode),
            max_env_step=int(stock.max_env_step),
        )
        entry.train_muzero([config, create], seed=seed, max_env_step=stock.max_env_step)
        note("end")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
