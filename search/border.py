"""Checks at the border of a search: what is refused, with the row and the fix. None runs inside the loop on values;
shapes and dtypes of the first `Step` are looked at (no data is read for that)."""

from __future__ import annotations

import torch
from torch import Tensor

from search.tree import Root, Step, Tree


def check_root(root: Root, num_simulations: int) -> None:
    """Raises ValueError, naming the row, if a search from `root` would be meaningless. Reads values once."""
    if num_simulations < 1:
        raise ValueError(f"num_simulations must be at least 1, found {num_simulations}")
    if root.prior_logits.ndim != 2 or 0 in root.prior_logits.shape:
        raise ValueError(f"Root.prior_logits must be [B, A], neither 0, found {list(root.prior_logits.shape)}")
    if root.value.ndim != 2 or root.value.shape[-1] < 1:
        raise ValueError(
            f"Root.value must be [B, P], one column a player, found {list(root.value.shape)}; "
            "for one player: value[:, None]"
        )
    batch, num_actions = root.prior_logits.shape
    num_players = root.value.shape[1]
    check_tensor("Root.prior_logits", root.prior_logits, (batch, num_actions), torch.float32)
    check_tensor("Root.value", root.value, (batch, num_players), torch.float32)
    check_tensor("Root.legal", root.legal, (batch, num_actions), torch.bool)
    check_tensor("Root.to_play", root.to_play, (batch,), torch.int64)
    check_tensor("Root.seed", root.seed, (batch,), torch.int64)
    if root.exists is not None:
        check_tensor("Root.exists", root.exists, (batch, num_actions), torch.bool)
    if root.value_scale is not None:
        check_tensor("Root.value_scale", root.value_scale, (batch,), torch.float32)
    if root.embedding.shape[:1] != (batch,):
        raise ValueError(f"Root.embedding must have {batch} rows as the logits do, found {list(root.embedding.shape)}")
    for name, tensor in root._asdict().items():
        if tensor is not None and tensor.device != root.prior_logits.device:
            raise ValueError(
                f"Root.{name} is on {tensor.device}, Root.prior_logits on {root.prior_logits.device}; "
                "move all of the root to one device"
            )
    _check_root_values(root, num_players)


def _check_root_values(root: Root, num_players: int) -> None:
    allowed = root.legal if root.exists is None else root.legal & root.exists
    _refuse(
        ~allowed.any(dim=1),
        "row {row} of the root has no legal action; leave finished games out or give them one dummy action",
    )
    _refuse(
        (allowed & ~torch.isfinite(root.prior_logits)).any(dim=1),
        "row {row} of Root.prior_logits has a NaN or infinite logit on a legal action; check the network's output",
    )
    _refuse(
        ~torch.isfinite(root.value).all(dim=1),
        "row {row} of Root.value is NaN or infinite; check the network's output",
    )
    _refuse(
        (root.to_play < 0) | (root.to_play >= num_players),
        f"row {{row}} of Root.to_play is not a seat: Root.value has {num_players} columns, one a player",
    )
    if root.value_scale is not None:
        _refuse(
            ~(torch.isfinite(root.value_scale) & (root.value_scale > 0)),
            "row {row} of Root.value_scale is not a positive number; use 1 where a game's scale is not known yet",
        )


def check_step(step: Step, root: Root, batch: int) -> None:
    """Raises ValueError if the first answer of the recurrent function, to `batch` rows, does not fit the root. Reads
    no values."""
    num_actions = root.prior_logits.shape[1]
    num_players = root.value.shape[1]
    check_tensor("Step.reward", step.reward, (batch, num_players))
    check_tensor("Step.discount", step.discount, (batch,))
    check_tensor("Step.prior_logits", step.prior_logits, (batch, num_actions))
    check_tensor("Step.value", step.value, (batch, num_players))
    check_tensor("Step.to_play", step.to_play, (batch,), torch.int64)
    if step.exists is not None:
        check_tensor("Step.exists", step.exists, (batch, num_actions), torch.bool)
    if step.chance is not None:
        check_tensor("Step.chance", step.chance, (batch,), torch.bool)
    check_tensor("Step.embedding", step.embedding, (batch, *root.embedding.shape[1:]), root.embedding.dtype)


def check_tree(tree: Tree) -> None:
    """Raises ValueError, naming row and simulation, if the recurrent function returned NaN or infinite numbers, or a
    mover that is no seat."""
    used, num_players = tree.visits > 0, tree.value.shape[2]
    bad = ((tree.to_play < 0) | (tree.to_play >= num_players)).logical_and(used).nonzero()
    if len(bad):
        row, node = bad[0].tolist()
        raise ValueError(
            f"Step.to_play of row {row} is {int(tree.to_play[row, node])} in simulation {node}: "
            f"not a seat of {num_players} players"
        )
    healthy = torch.isfinite(tree.prior_logits).all(dim=2) & torch.isfinite(tree.discount) & (tree.discount >= 0)
    healthy &= (torch.isfinite(tree.raw_value) & torch.isfinite(tree.reward)).all(dim=2)
    bad = (~healthy & used).nonzero()
    if len(bad):
        row, node = bad[0].tolist()
        raise ValueError(
            f"the recurrent function returned a NaN, an infinite number or a negative discount for row {row} "
            f"in simulation {node}; check the network's output (actions that do not exist belong in Step.exists)"
        )


def check_tensor(name: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype | None = None) -> None:
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} must have shape {list(shape)}, found {list(tensor.shape)}")
    if dtype is not None and tensor.dtype != dtype:
        raise ValueError(f"{name} must be {dtype}, found {tensor.dtype}; convert it with .to({dtype})")


def _refuse(bad: Tensor, message: str) -> None:
    rows = bad.nonzero()
    if len(rows):
        raise ValueError(message.format(row=rows[0].item()))
