"""From a window of experience to what the network should have said.

Shape legend: N samples, W window, K unroll steps, P players. Values are per seat here (absolute); the learner turns
them to the mover's view.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from agents.replay import Window


class Targets(NamedTuple):
    """Targets of K + 1 positions (the sampled one and K unrolled) and of the K moves between them."""

    value: Tensor  # [N, K + 1, P] float32: n-step return
    alive: Tensor  # [N, K + 1] bool: this position belongs to the sampled episode and was really reached
    reward: Tensor  # [N, K, P] float32
    moved: Tensor  # [N, K] bool: this move was made in the sampled episode
    continues: Tensor  # [N, K] bool: the game goes on after the move (a truncated game goes on)


def n_step_returns(
    reward: Tensor, terminated: Tensor, truncated: Tensor, root_value: Tensor, final_value: Tensor, gamma: float,
    n: Tensor, length: int,
) -> Tensor:  # fmt: skip
    """[N, length, P] the n-step returns of the first positions (Sutton and Barto 2018, eq. 7.1), seat by seat.

    G_t = sum_{j<n} gamma^j r_{t+j} + gamma^n V(s_{t+n}); the sum stops at the end of the episode, where a terminated
    one adds nothing more and a truncated one adds gamma^{j+1} V(its last observation). Because rewards and values
    are per seat, players may alternate in any way.
    reward, root_value, final_value: [N, W, P]; terminated, truncated: [N, W]; n: [N] or [N, length] int64, 0 to
    W - length.
    """
    width = reward.shape[1]
    ended = terminated | truncated
    n = n if n.dim() == 2 else n[:, None].expand(-1, length)
    before = torch.cumsum(ended, 1) - ended.long()  # [N, W] ends before each step
    start = before[:, :length, None]
    ahead = torch.arange(width) - torch.arange(length)[:, None]  # [length, W] how far step i lies ahead of position t
    power = (gamma ** ahead.clamp(min=0).double()).float()
    share = torch.where((ahead >= 0) & (ahead < n[..., None]), power, 0.0)
    same_episode = before[:, None] == start  # [N, length, W]
    # A cut-off episode pays its last value after its last reward.
    income = reward + gamma * truncated[..., None] * final_value
    total = torch.bmm(share * same_episode, income)
    at = n + torch.arange(length)  # [N, length] where the sum ends
    goes_on = same_episode.gather(2, at[..., None])  # [N, length, 1]: that step belongs to the episode of t
    value = root_value.gather(1, at[..., None].expand(-1, -1, root_value.shape[2]))
    return total + (gamma ** n.double()).float()[..., None] * goes_on * value


def make_targets(
    window: Window,
    unroll: int,
    n: int | Tensor,
    gamma: float,
    search_share: float = 0.0,
    searched: Tensor | None = None,
) -> Targets:
    """Targets from a replay `Window` of at least unroll + n + 1 steps; n: of all rows, or [N] or [N, unroll + 1] int64.

    search_share: how much of the value target is the search's value of the position itself, taken from searched
    [N, W, P]; None: the window's root values.
    """
    ended = window.terminated | window.truncated
    steps = n if isinstance(n, Tensor) else torch.full((len(ended),), n)
    value = n_step_returns(
        window.reward, window.terminated, window.truncated, window.root_value, window.final_value, gamma, steps,
        unroll + 1,
    )  # fmt: skip
    if search_share:
        value = torch.lerp(value, (window.root_value if searched is None else searched)[:, : unroll + 1], search_share)
    before = torch.cumsum(ended[:, :unroll], 1)  # ends up to and including each move
    alive = torch.cat([torch.ones_like(ended[:, :1]), before == 0], 1)
    moved = alive[:, :unroll]
    return Targets(
        value=value,
        alive=alive,
        reward=window.reward[:, :unroll],
        moved=moved,
        continues=~window.terminated[:, :unroll],
    )
