"""Checks at the border of a search: what is refused, with the row and the fix. None runs inside the loop on values;
kinds, shapes, types and devices of the first `Step` are looked at (no data is read for that)."""

from __future__ import annotations

import numbers
from typing import Any

import torch
from torch import Tensor

from search.tree import Root, Step, Tree

SMALLEST, LARGEST = 1e-12, 1e12  # of settings and units: products and quotients of two stay finite in float32
_MOST_COUNTED = 2**31 - 1  # int32 in the kernels
_LARGEST_LOGIT = 1e6  # of a node's highest: beyond, float32 keeps too little of the differences
_LARGEST_RETURN = 1e30  # means and differences of returns stay finite
_MASKED = -(2.0**127)  # `plan.MASKED`, which marks the actions that do not exist

_FIX_OF_ROOT = {
    "value": "for one player: value[:, None]",
    "embedding": "one tensor, a row a position; put several into one",
    "legal": "torch.ones(B, A, dtype=torch.bool) where every action is legal",
    "to_play": "for one player: torch.zeros(B, dtype=torch.int64)",
    "seed": "such as torch.arange(B), other numbers in every move",
}
_OPTIONAL = ("exists", "value_scale", "chance")


# What costs about a microsecond a search, looked at also with check=False


def check_number(name: str, value: Any, low: float, high: float = LARGEST) -> None:
    """ValueError unless `value` is a finite number of [low, high]."""
    known = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not known or not low <= float(value) <= high:
        raise ValueError(f"{name} must be a number from {low:g} to {high:g}, found {value!r}")


def check_count(name: str, value: Any, low: int = 1) -> None:
    """ValueError unless `value` is a whole number, at least `low` and no more than an int32 holds."""
    if type(value) is not int and (isinstance(value, bool) or not isinstance(value, numbers.Integral)):
        raise ValueError(f"{name} must be a whole number, found {value!r}; int(...) makes one")
    if int(value) < low:
        raise ValueError(f"{name} must be at least {low}, found {value}")
    if int(value) > _MOST_COUNTED:
        raise ValueError(f"{name} must be at most {_MOST_COUNTED}, found {value}")


def check_kind(name: str, value: Any, kinds: type | tuple[type, ...], fix: str) -> None:
    """ValueError unless `value` is of one of `kinds`, classes of `search`."""
    if not isinstance(value, kinds):
        names = [f"search.{kind.__name__}" for kind in (kinds if isinstance(kinds, tuple) else (kinds,))]
        found = f"the class {value.__name__} itself" if isinstance(value, type) else type(value).__name__
        raise ValueError(f"{name} must be a {' or a '.join(names)}, found {found}; {fix}")


def check_call(root: Any, root_kind: type, num_simulations: Any, engine: Any, **functions: Any) -> None:
    """ValueError if an argument of a search is of the wrong kind, or a batch empty."""
    if not isinstance(root, root_kind):
        check_kind("root", root, root_kind, f"its fields are {', '.join(root_kind._fields)}")  # pyright: ignore[reportAttributeAccessIssue]
    check_count("num_simulations", num_simulations)
    for name, function in functions.items():
        if not callable(function):
            raise ValueError(f"{name} must be a function, found {type(function).__name__}; see docs/search.md")
    if engine is not None and not callable(engine):
        raise ValueError(f"engine must be a function such as search.torch_engine.run, or None, found {engine!r}")
    first = root[0]  # prior_logits, parameters
    if isinstance(first, Tensor) and first.ndim > 0 and len(first) == 0:
        name = f"{root_kind.__name__}.{root._fields[0]}"
        raise ValueError(f"{name} must have at least one row, found {list(first.shape)}; skip the search of no rows")


# With check=True: values, read once before the search and once after it


def check_root(root: Root) -> None:
    """Raises ValueError, naming the row, if a search from `root` would be meaningless. Reads values once."""
    for name in ("prior_logits", "value"):
        _tensor(f"Root.{name}", getattr(root, name), _FIX_OF_ROOT.get(name, ""))
    if root.prior_logits.ndim != 2 or 0 in root.prior_logits.shape:
        raise ValueError(f"Root.prior_logits must be [B, A], neither 0, found {list(root.prior_logits.shape)}")
    batch, num_actions = root.prior_logits.shape
    edges = (batch, num_actions)
    check_rows(
        root, batch,
        prior_logits=(edges, torch.float32), legal=(edges, torch.bool), exists=(edges, torch.bool),
    )  # fmt: skip
    _check_root_values(root, root.value.shape[1])


def check_rows(root: Any, batch: int, **others: tuple[tuple[int, ...], torch.dtype]) -> None:
    """Kinds, shapes, types and devices of a root's fields: those that `Root` and `SampledRoot` share, and `others`."""
    kind = type(root).__name__
    _tensor(f"{kind}.value", root.value, _FIX_OF_ROOT["value"])
    if root.value.ndim != 2 or root.value.shape[1] < 1:
        raise ValueError(
            f"{kind}.value must be [B, P], one column a player, found {list(root.value.shape)}; {_FIX_OF_ROOT['value']}"
        )
    shapes: dict[str, Any] = others | {
        "value": ((batch, root.value.shape[1]), torch.float32),
        "to_play": ((batch,), torch.int64),
        "seed": ((batch,), torch.int64),
        "value_scale": ((batch,), torch.float32),
    }
    for name, value in root._asdict().items():
        if value is None and name in _OPTIONAL:
            continue
        full, fix = f"{kind}.{name}", _FIX_OF_ROOT.get(name, "")
        tensor = check_tensor(full, value, *shapes[name], fix=fix) if name in shapes else _tensor(full, value, fix)
        if tensor.shape[:1] != (batch,):
            raise ValueError(f"{full} must have {batch} rows as {kind}.{root._fields[0]}, found {list(tensor.shape)}")
        if tensor.device != root[0].device:
            raise ValueError(
                f"{full} is on {tensor.device}, {kind}.{root._fields[0]} on {root[0].device}; "
                "move all of the root to one device"
            )


def _check_root_values(root: Root, num_players: int) -> None:
    allowed = root.legal if root.exists is None else root.legal & root.exists
    refuse(
        ~allowed.any(dim=1),
        "row {row} of the root has no legal action; leave finished games out or give them one dummy action",
    )
    refuse(
        (allowed & ~torch.isfinite(root.prior_logits)).any(dim=1),
        "row {row} of Root.prior_logits has a NaN or infinite logit on a legal action; check the network's output",
    )
    refuse(
        ~torch.isfinite(root.value).all(dim=1),
        "row {row} of Root.value is NaN or infinite; check the network's output",
    )
    refuse(
        (root.to_play < 0) | (root.to_play >= num_players),
        f"row {{row}} of Root.to_play is not a seat: Root.value has {num_players} columns, one a player",
    )
    if root.value_scale is not None:
        refuse(
            ~((root.value_scale >= SMALLEST) & (root.value_scale <= LARGEST)),
            f"row {{row}} of Root.value_scale is not a positive number ({SMALLEST:g} to {LARGEST:g}); "
            "use 1 where a game's scale is not known yet",
        )


def check_step(step: Step, root: Root, batch: int) -> None:
    """Raises ValueError if the first answer of the recurrent function, to `batch` rows, does not fit the root. Reads
    no values."""
    check_kind(
        "the answer of the recurrent function", step, Step,
        "return Step(embedding, reward, discount, prior_logits, value, to_play)",
    )  # fmt: skip
    num_actions = root.prior_logits.shape[1]
    num_players = root.value.shape[1]
    shapes = {
        "reward": ((batch, num_players), None),
        "discount": ((batch,), None),
        "prior_logits": ((batch, num_actions), None),
        "value": ((batch, num_players), None),
        "to_play": ((batch,), torch.int64),
        "exists": ((batch, num_actions), torch.bool),
        "chance": ((batch,), torch.bool),
        "embedding": ((batch, *root.embedding.shape[1:]), root.embedding.dtype),
    }
    check_answer(step, shapes, root.prior_logits.device)


def check_answer(answer: Any, shapes: dict[str, tuple], device: torch.device) -> None:
    """ValueError if a field of a model's answer, a NamedTuple of tensors, has another shape, type or device."""
    for name, (shape, dtype) in shapes.items():
        value = getattr(answer, name)
        if value is None and name in _OPTIONAL:
            continue
        if (
            isinstance(value, Tensor) and value.shape == shape and value.dtype == (dtype or torch.float32)
            and value.device == device and value.layout == torch.strided
        ):  # fmt: skip
            continue  # as nearly always: no message is made up
        full = f"{type(answer).__name__}.{name}"
        tensor = check_tensor(full, value, shape, dtype, fix=f"such as torch.full({list(shape)}, ...)")
        if tensor.is_complex() or (dtype is None and tensor.dtype == torch.bool):
            raise ValueError(f"{full} must hold real numbers, found {tensor.dtype}; convert it with .to(torch.float32)")
        if tensor.device != device:
            raise ValueError(f"{full} is on {tensor.device}, the root on {device}; move the model or the root")


def check_tree(tree: Tree) -> None:
    """Raises ValueError, naming row and simulation, if the recurrent function returned NaN or infinite numbers, logits
    below -2^127, or a mover that is no seat."""
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
    _refuse_nodes(
        ~healthy & used,
        "the recurrent function returned a NaN, an infinite number or a negative discount for row {row} "
        "in simulation {node}; check the network's output (actions that do not exist belong in Step.exists)",
    )
    _refuse_nodes(
        (tree.prior_logits < _MASKED).any(dim=2) & used,
        "a logit of Step.prior_logits lies below -2^127 for row {row} in simulation {node}; "
        "actions that do not exist belong in Step.exists, others need larger logits, such as -1e9",
    )
    far = (tree.prior_logits.amax(dim=2).abs() > _LARGEST_LOGIT) & used
    if far.any():
        _refuse_nodes(
            far & (tree.child >= 0).any(dim=2),  # where the prior chose
            f"the highest logit of row {{row}} at the node of simulation {{node}} (0: the root) is beyond "
            f"{_LARGEST_LOGIT:g}, where float32 is too coarse; subtract each row's highest logit",
        )
    _refuse_nodes(
        ~(tree.value.abs() <= _LARGEST_RETURN).all(dim=2) & used,
        f"the returns of row {{row}} overflow at the node of simulation {{node}} (beyond {_LARGEST_RETURN:g}); "
        "check rewards, discounts and values",
    )


def check_tensor(
    name: str, tensor: Any, shape: tuple[int, ...], dtype: torch.dtype | None = None, fix: str = ""
) -> Tensor:
    """`tensor`; ValueError unless it is a tensor of this shape and, if given, type."""
    _tensor(name, tensor, fix)
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} must have shape {list(shape)}, found {list(tensor.shape)}")
    if dtype is not None and tensor.dtype != dtype:
        raise ValueError(f"{name} must be {dtype}, found {tensor.dtype}; convert it with .to({dtype})")
    return tensor


def _tensor(name: str, tensor: Any, fix: str) -> Tensor:
    if not isinstance(tensor, Tensor):
        if isinstance(tensor, list) or hasattr(tensor, "__array__"):
            fix = "torch.as_tensor(...) makes one"
        raise ValueError(f"{name} must be a torch.Tensor, found {type(tensor).__name__}; {fix}".rstrip("; "))
    if tensor.layout != torch.strided:
        raise ValueError(f"{name} must be a dense tensor, found {tensor.layout}; .to_dense() makes one")
    return tensor


def refuse(bad: Tensor, message: str) -> None:
    """ValueError with the first row where `bad` [B] is True in the place of {row}."""
    rows = bad.nonzero()
    if len(rows):
        raise ValueError(message.format(row=rows[0].item()))


def _refuse_nodes(bad: Tensor, message: str) -> None:
    """The same for `bad` [B, N], with {row} and {node}."""
    found = bad.nonzero()
    if len(found):
        row, node = found[0].tolist()
        raise ValueError(message.format(row=row, node=node))
