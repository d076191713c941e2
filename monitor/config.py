"""What the monitor measures, how often, and the thresholds of its events."""

from __future__ import annotations

import dataclasses

_BOUNDS = {  # of each number but the sizes, which bound one another
    "s_min": (1, 1e9),
    "loss_points_per_decade": (1, 1e6),
    "health_points_per_decade": (1, 1e6),
    "dormant_tau": (0, 1),
    "sharing_points_per_decade": (1, 1e6),
    "cause_points_per_decade": (1, 1e6),
    "sharing_pairs": (1, 1e6),
    "ablation_units": (20, 1e6),
    "forgetting_nats": (0, 1e3),
    "forgetting_hold_decades": (0, 10),
    "confounder_decades": (0, 10),
    "loss_floor": (0, 1),
    "warn_statistic": (0, 1e9),
    "alert_statistic": (0, 1e9),
    "rank_fall": (0, 1),
    "dormant_rise": (0, 1),
}


@dataclasses.dataclass(frozen=True)
class MonitorConfig:
    """The transfer monitor: frozen validation sets, cadence, thresholds."""

    enabled: bool = True
    "Measure at all. Training is the same to the bit either way."
    set_size: int = 2048
    "Positions in a game's frozen validation set; measured at introductions and at the end."
    medium_size: int = 256
    "Positions of the nested subset for rank, dormancy and the sparse losses."
    small_size: int = 64
    "Positions of the nested subset for the dense losses."
    s_min: int = 50
    "Updates after an introduction at which the first checkpoint lies."
    loss_points_per_decade: int = 60
    "Checkpoints of the losses in a tenfold of updates since an introduction."
    health_points_per_decade: int = 10
    "Checkpoints of rank, dormancy and latent norm in a tenfold of updates since an introduction."
    dormant_tau: float = 0.025
    "A unit is dormant at or below this share of its layer's mean activity (Sokar et al. 2023)."
    sharing: bool = True
    "Compare the games' representations: probes, subspaces, gradients, ablations, lookahead, CKA of twins."
    sharing_points_per_decade: int = 10
    "Checkpoints of probes, subspaces and gradients in a tenfold of updates since the latest introduction."
    cause_points_per_decade: int = 4
    "Checkpoints of ablations, TAG and CKA in a tenfold of updates since the latest introduction."
    sharing_size: int = 256
    "Positions of a game for probes, subspaces and CKA."
    cause_size: int = 40
    "Positions of a game for ablations, gradients and lookahead."
    sharing_pairs: int = 24
    "Pairs of games that are compared at most: twins first, then the newest game's, then others by lot."
    ablation_units: int = 48
    "Units that are ablated, by lot from all hidden units that games share; the same throughout a run."
    forgetting_nats: float = 0.10
    "Rise of an old game's frozen loss above its value at the previous introduction that counts as forgetting."
    forgetting_hold_decades: float = 0.15
    "How long that rise must hold, in log10 of the updates since the introduction."
    confounder_decades: float = 0.05
    "An event this close to another ledger entry is confounded, in log10 of the updates since the introduction."
    falls: bool = False
    "Look for sudden falls while training and at its end: dear in a short run, and `gurgeh monitor --falls` can later."
    loss_floor: float = 1e-3
    "Nats; a loss below counts as this when rises and falls are sought, for the logarithm of nearly nothing is noise."
    warn_statistic: float = 30.0
    "One-sided FOCuS statistic of the forecast errors from which a fall is warned of."
    alert_statistic: float = 45.0
    "The same from which the offline scan is asked, 0.15 decade later."
    rank_fall: float = 0.20
    "Share of its effective rank that a game may lose before its health is called bad."
    dormant_rise: float = 0.05
    "Rise of the share of dormant units before a game's health is called bad."

    def __post_init__(self) -> None:
        if not 2 <= self.small_size <= self.medium_size <= self.set_size <= 10**9:
            raise ValueError(
                "monitor: the validation subsets are nested, so 2 <= small_size <= medium_size <= set_size <= 10^9 is "
                f"needed; found small_size={self.small_size}, medium_size={self.medium_size}, set_size={self.set_size}"
            )
        for name in ("sharing_size", "cause_size"):
            if not 32 <= getattr(self, name) <= 10**6:
                raise ValueError(f"monitor.{name} must lie from 32 to 10^6, found {getattr(self, name)}")
        for name, (low, high) in _BOUNDS.items():
            value = getattr(self, name)
            if not low <= value <= high:  # NaN lies nowhere
                raise ValueError(f"monitor.{name} must lie from {low:g} to {high:g}, found {value}")
