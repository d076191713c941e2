"""Sampled MuZero: against the plain search over the same actions, and on problems whose best action is known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from engines import ENGINES
from models import random_model

import search
from search import (
    Gaussian,
    GumbelConfig,
    PUCTConfig,
    SampledRoot,
    SampledStep,
    Samples,
    TreeRange,
    Unscaled,
    Unvisited,
    noise,
    sampled_muzero,
)

GREEDY = {
    "gumbel": GumbelConfig(gumbel_scale=0.0),
    "puct": PUCTConfig(dirichlet_fraction=0.0, temperature=0.0),
}


# Where the network says nothing and every sample must be tried.
EXPLORING = {
    "gumbel": GumbelConfig(gumbel_scale=0.0),
    "puct": PUCTConfig(
        pb_c_init=6.0, dirichlet_fraction=0.0, temperature=0.0, unit=TreeRange(), unvisited=Unvisited.NODE
    ),
}


# Nothing here is an engine's; without a GPU, Triton's kernels run on numpy, too slowly for more than a few tests.
@pytest.fixture(params=[name for name in ENGINES if name != "triton"])
def engine(request):
    return ENGINES[request.param]


@pytest.fixture(params=GREEDY)
def config(request):
    return GREEDY[request.param]


@dataclass(frozen=True)
class FixedPoints:
    """The same points at every node; the parameters are the logits over them."""

    points: torch.Tensor  # [K, D]
    noise_size: int = 0

    def sample(self, parameters, noise):
        assert noise.shape == (len(parameters), len(self.points), 0)
        return Samples(self.points.expand(len(parameters), -1, -1), parameters)


@pytest.mark.parametrize("engine_name", ENGINES)
@pytest.mark.parametrize("settings", [GumbelConfig(max_considered=4), PUCTConfig(), *GREEDY.values()])
def test_over_fixed_points_it_is_the_plain_search(engine_name, settings):
    """All noise on: the same tree, target and values to the bit, and the action is the point."""
    engine = ENGINES[engine_name]
    model = random_model(41, 5, 2, 0.2, 1.0)
    root = model.root(6, 1.0, 41)
    points = torch.tensor([[-2.0, 0.5], [0.0, 1.0], [0.25, 3.0], [0.5, -1.0], [7.0, 7.0]])

    def recurrent(embedding, action):
        index = (action[:, None] == points).all(dim=2).int().argmax(dim=1)
        step = model.step(embedding, index)
        return SampledStep(step.embedding, step.reward, step.discount, step.prior_logits, step.value, step.to_play)

    sampled_root = SampledRoot(root.prior_logits, root.value, root.embedding, root.to_play, root.seed, root.value_scale)
    found = sampled_muzero(sampled_root, recurrent, FixedPoints(points), 30, 5, settings, engine=engine)
    plain = search.gumbel_muzero if isinstance(settings, GumbelConfig) else search.muzero
    expected = plain(root, model.step, 30, settings, engine=engine)
    assert torch.equal(found.tree.child, expected.tree.child)
    assert torch.equal(found.index, expected.action)
    assert torch.equal(found.action, points[expected.action])
    for name in ("policy_target", "root_value", "visits", "q_values"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name


def bandit_root(rows, mean, std, dimensions):
    parameters = torch.tensor([mean] * dimensions + [math.log(std)] * dimensions).expand(rows, -1)
    seats = torch.zeros(rows, dtype=torch.int64)
    return SampledRoot(parameters, torch.zeros(rows, 1), torch.zeros(rows, 1), seats, torch.arange(rows))


def bandit(best, parameters):
    """One action, then the end: it pays 1 less the squared distance to `best`."""

    def recurrent(embedding, action):
        reward = 1 - ((action - best) ** 2).sum(dim=1, keepdim=True)
        rows = len(action)
        return SampledStep(
            embedding,
            reward,
            torch.zeros(rows),
            parameters[:rows],
            torch.zeros(rows, 1),
            torch.zeros(rows, dtype=torch.int64),
        )

    return recurrent


def distance_to_best(num_samples, best, config, engine):
    """Mean over 64 rows, each with its own samples."""
    best = torch.tensor(best)
    root = bandit_root(64, 0.0, 1.0, len(best))
    gaussian = Gaussian(len(best))
    result = sampled_muzero(
        root, bandit(best, root.parameters), gaussian, 2 * num_samples, num_samples, config, engine=engine
    )
    assert torch.equal(result.action, result.samples[torch.arange(64), result.index])
    return (result.action - best).norm(dim=1).mean().item()


@pytest.mark.parametrize("best", [[0.4], [0.4, -0.6]])
def test_the_best_action_of_a_bandit_comes_nearer_with_more_samples(engine, best):
    """Every sample is tried and the best one is played, so the distance is that of the nearest of K."""
    config = GumbelConfig(max_considered=1000, gumbel_scale=0.0, unit=Unscaled(), value_scale=100.0)
    distances = [distance_to_best(k, best, config, engine) for k in (2, 8, 32)]
    assert distances[0] > 1.5 * distances[1] > 2.25 * distances[2]
    assert distances[2] < (0.05 if len(best) == 1 else 0.25)
    assert distances[0] > 0.2


def test_puct_finds_the_best_of_its_samples(engine):
    root = bandit_root(32, 0.0, 1.0, 1)
    config = EXPLORING["puct"]
    result = sampled_muzero(
        root, bandit(torch.tensor([0.4]), root.parameters), Gaussian(1), 200, 8, config, engine=engine
    )
    distance = (result.samples[:, :, 0] - 0.4).abs()
    # PUCT gives up samples that look much worse; those near the best may share the visits.
    assert (distance.gather(1, result.index[:, None])[:, 0] <= distance.amin(dim=1) + 0.1).all()


def double_integrator(position, velocity, action):
    """Position and velocity after the push, and what that costs."""
    velocity = velocity + action
    position = position + velocity
    return position, velocity, position**2 + 0.1 * action**2


def best_return(position, velocity, first):
    """Exact: the return of `first` [...], followed by the best second push, by the parabola's minimum, in the box."""
    position, velocity, cost = double_integrator(position, velocity, first)
    # Minimise (p + v + a)^2 + 0.1 a^2 over a in [-1, 1].
    second = (-(position + velocity) / 1.1).clamp(-1, 1)
    return -cost - double_integrator(position, velocity, second)[2]


def regret(num_samples, num_simulations, config, engine):
    """How much less than the best the search's first push returns, if the best one follows; mean over 32 rows."""
    rows = 32

    def recurrent(embedding, action):
        position, velocity, cost = double_integrator(embedding[:, 0], embedding[:, 1], action[:, 0])
        moment = embedding[:, 2] + 1
        state = torch.stack([position, velocity, moment], dim=1)
        zeros = torch.zeros(rows, 1)
        # The network knows nothing: the value is 0, far above what the cost allows, and pushes are drawn at random.
        return SampledStep(
            state, -cost[:, None], (moment < 2).float(), zeros.expand(-1, 2), zeros, torch.zeros_like(moment).long()
        )

    start = torch.tensor([0.8, 0.3, 0.0]).expand(rows, -1)
    seats = torch.zeros(rows, dtype=torch.int64)
    root = SampledRoot(torch.zeros(rows, 2), torch.zeros(rows, 1), start, seats, torch.arange(rows) + 100)
    result = sampled_muzero(root, recurrent, Gaussian(1), num_simulations, num_samples, config, engine=engine)
    grid = best_return(torch.tensor(0.8), torch.tensor(0.3), torch.linspace(-1, 1, 4001))
    found = best_return(torch.tensor(0.8), torch.tensor(0.3), result.action[:, 0])
    return (grid.max() - found).mean().item()


@pytest.mark.parametrize("policy", EXPLORING)
def test_control_with_exact_dynamics(engine, policy):
    """Two pushes of a double integrator: the regret falls with K and becomes small."""
    config = EXPLORING[policy]
    few, many = (regret(k, 16 * k, config, engine) for k in (2, 16))
    assert few > 10 * many
    assert many < 0.06


def test_the_prior_makes_up_for_the_temperature():
    """Weighted by softmax(prior_logits), samples of pi ** (1/4) have pi's mean and deviation; unweighted they have
    twice its deviation."""
    gaussian = Gaussian(1, temperature=4.0)
    parameters = torch.tensor([[0.1, math.log(0.2)]])
    uniform = (torch.arange(20000) + 0.5)[None, :, None] / 20000
    action, logits = gaussian.sample(parameters, uniform)
    x = torch.atanh(action[0, :, 0].double())
    assert x.std().item() == pytest.approx(0.4, rel=0.01)
    weight = torch.softmax(logits[0].double(), dim=0)
    mean = (weight * x).sum()
    assert mean.item() == pytest.approx(0.1, abs=0.002)
    assert (weight * (x - mean) ** 2).sum().sqrt().item() == pytest.approx(0.2, rel=0.01)


def test_two_dimensions_multiply():
    gaussian = Gaussian(2, temperature=2.0)
    noise = torch.rand(3, 7, 2, generator=torch.Generator().manual_seed(1))
    parameters = torch.randn(3, 4, generator=torch.Generator().manual_seed(2))
    action, logits = gaussian.sample(parameters, noise)
    for d in range(2):
        one = Gaussian(1, temperature=2.0).sample(parameters[:, [d, 2 + d]], noise[:, :, d : d + 1])
        assert torch.equal(action[:, :, d : d + 1], one.action)
        logits = logits - one.prior_logits
    torch.testing.assert_close(logits, torch.zeros(3, 7), atol=1e-5, rtol=0)


def test_the_policy_s_own_samples_have_equal_priors():
    action, logits = Gaussian(3, -2.0, 5.0).sample(torch.randn(4, 6) * 3, torch.rand(4, 9, 3).clamp(1e-6, 1 - 1e-6))
    assert not logits.any()
    assert action.shape == (4, 9, 3)
    assert ((action >= -2) & (action <= 5)).all()
    assert action.min() < -1
    assert action.max() > 4


def test_log_prob_is_torch_s():
    low, high = torch.tensor([-2.0, 0.0]), torch.tensor([2.0, 1.0])
    gaussian = Gaussian(2, low, high)
    parameters = torch.randn(3, 4, generator=torch.Generator().manual_seed(3)) * 0.5
    action, _ = gaussian.sample(parameters, torch.rand(3, 6, 2, generator=torch.Generator().manual_seed(4)))
    normal = torch.distributions.Normal(parameters[:, None, :2], parameters[:, None, 2:].exp())
    transforms = [
        torch.distributions.TanhTransform(),
        torch.distributions.AffineTransform((low + high) / 2, (high - low) / 2),
    ]
    expected = torch.distributions.TransformedDistribution(normal, transforms).log_prob(action).sum(dim=2)
    torch.testing.assert_close(gaussian.log_prob(parameters, action), expected, atol=1e-3, rtol=1e-3)


def walk_root(rows, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return SampledRoot(
        torch.randn(rows, 6, generator=generator) * 0.5,
        torch.randn(rows, 2, generator=generator),
        torch.randn(rows, 2, 2, generator=generator),
        torch.arange(rows) % 2,
        torch.arange(rows) * 977,
    )


def walk(embedding, action):
    """A smooth model without sums over rows or long sums, of which the last bit could depend on the batch."""
    flat = embedding.flatten(1)
    new = 0.5 * flat + action[:, [0, 1, 2, 0]]
    parameters = 0.3 * new[:, [0, 1, 2, 3, 0, 1]]
    return SampledStep(
        new.view(-1, 2, 2),
        new[:, :2] * 0.25,
        torch.full((len(new),), 0.9),
        parameters,
        new[:, 2:],
        (new[:, 0] > 0).long(),
    )


@pytest.mark.parametrize("settings", [GumbelConfig(), PUCTConfig()])
def test_a_row_does_not_depend_on_its_batch(engine, settings):
    root = walk_root(5)
    together = sampled_muzero(root, walk, Gaussian(3), 20, 6, settings, engine=engine)
    for row in range(5):
        one = SampledRoot(*(x if x is None else x[row : row + 1] for x in root))
        alone = sampled_muzero(one, walk, Gaussian(3), 20, 6, settings, engine=engine)
        for name in ("action", "samples", "policy_target", "root_value", "visits", "q_values"):
            assert torch.equal(getattr(alone, name)[0], getattr(together, name)[row]), name
        assert torch.equal(alone.tree.embedding[0], together.tree.embedding[row])


def test_every_node_has_samples_of_its_own_and_the_model_gets_them(engine, config):
    """The parameters are the same everywhere, so that the numbers must differ."""
    root, seen = walk_root(3)._replace(parameters=torch.zeros(3, 6)), []

    def watched(embedding, action):
        seen.append((embedding.clone(), action.clone()))
        return walk(embedding, action)._replace(parameters=torch.zeros(3, 6))

    tree = sampled_muzero(root, watched, Gaussian(3), 12, 4, config, engine=engine).tree
    rows, samples = torch.arange(3), tree.embedding[:, :, 4:].view(3, 13, 4, 3)
    assert len(samples.flatten(0, 2).unique(dim=0)) == 3 * 13 * 4
    assert len(seen) == 12
    for node in range(1, 13):
        parent, index = tree.parent[:, node].long(), tree.action[:, node].long()
        assert torch.equal(seen[node - 1][0].flatten(1), tree.embedding[rows, parent, :4])
        assert torch.equal(seen[node - 1][1], samples[rows, parent, index])


def test_numbers_for_samples_do_not_depend_on_how_they_are_drawn(monkeypatch):
    """In pieces or at once, alone or in a batch, few or many; uniform, and never 0 or 1 in float32."""
    seed = torch.tensor([3, -5, 2**61])
    at_once = noise.samples(seed, 20000)
    monkeypatch.setattr(noise, "_SAMPLES_AT_ONCE", 300)
    assert torch.equal(noise.samples(seed, 20000), at_once)
    assert torch.equal(noise.samples(seed[1:2], 500)[0], at_once[1, :500])
    assert at_once.dtype == torch.float32
    assert ((at_once > 0) & (at_once < 1)).all()
    quarters = torch.stack([torch.histc(row, 4, 0, 1) for row in at_once]) / 20000
    torch.testing.assert_close(quarters, torch.full((3, 4), 0.25), atol=0.015, rtol=0)
    assert len(at_once.unique()) > 59000


def test_the_largest_number_is_below_1_in_float32(monkeypatch):
    monkeypatch.setattr(
        noise, "uniform", lambda seed, count, *_: torch.full((len(seed), count), 1 - 2.0**-53, dtype=torch.float64)
    )
    drawn = noise.samples(torch.zeros(2, dtype=torch.int64), 5)
    assert (drawn < 1).all()
    assert torch.isfinite(Gaussian(5).sample(torch.zeros(2, 10), drawn[:, None]).action).all()


def test_the_seed_decides_the_samples(engine, config):
    root = walk_root(1)
    many = SampledRoot(*(x if x is None else x.expand(8, *x.shape[1:]) for x in root))
    many = many._replace(seed=torch.tensor([1, 2, 3, 4, 5, 6, 7, 1]))
    result = sampled_muzero(many, walk, Gaussian(3), 6, 4, config, engine=engine)
    assert torch.equal(result.samples[0], result.samples[7])
    assert torch.equal(result.action[0], result.action[7])
    assert len(result.samples[:7].flatten(0, 1).unique(dim=0)) == 28


def test_more_simulations_keep_the_samples(engine, config):
    few, many = (sampled_muzero(walk_root(2), walk, Gaussian(3), n, 4, config, engine=engine) for n in (4, 9))
    assert torch.equal(few.samples, many.samples)


def test_reduced_precision(engine, config):
    """Embeddings of bfloat16 come back as such; the root's samples and the actions stay float32."""
    root = walk_root(3)
    root = root._replace(embedding=root.embedding.bfloat16())
    dtypes = set()

    def low(embedding, action):
        dtypes.add((embedding.dtype, action.dtype))
        step = walk(embedding.float(), action)
        return step._replace(embedding=step.embedding.bfloat16(), parameters=step.parameters.bfloat16())

    result = sampled_muzero(root, low, Gaussian(3), 10, 4, config, engine=engine)
    assert dtypes == {(torch.bfloat16, torch.float32)}
    assert result.action.dtype == result.samples.dtype == torch.float32
    assert torch.equal(result.tree.embedding[:, 0, 4:].view(3, 4, 3), result.samples)


def test_bad_input_is_refused(engine):
    root = walk_root(2)

    def run(root=root, model=walk, proposal=None, simulations=4, samples=4, config=GREEDY["gumbel"]):
        arguments = (root, model, proposal or Gaussian(3), simulations, samples, config)
        return sampled_muzero(*arguments, engine=engine)

    run()
    with pytest.raises(ValueError, match=r"num_samples must be at least 1, found 0"):
        run(samples=0)
    with pytest.raises(ValueError, match=r"num_simulations must be at least 1, found 0"):
        run(simulations=0)
    with pytest.raises(ValueError, match=r"floating-point type, found torch\.int64"):
        run(root._replace(embedding=root.embedding.long()))
    with pytest.raises(ValueError, match=r"waves=False"):
        run(config=GumbelConfig(waves=True))
    with pytest.raises(ValueError, match=r"parameters \[B, 4\], means first, found \[2, 6\]"):
        run(proposal=Gaussian(2))
    broken = root.parameters.clone()
    broken[1, 0] = float("nan")
    with pytest.raises(ValueError, match=r"row 1 of SampledRoot\.parameters"):
        run(root._replace(parameters=broken))
    with pytest.raises(ValueError, match=r"SampledStep\.embedding must have shape \[2, 2, 2\]"):
        run(model=lambda e, a: walk(e, a)._replace(embedding=torch.zeros(2, 4)))
    with pytest.raises(ValueError, match=r"SampledStep\.parameters must have shape \[2, 6\]"):
        run(model=lambda e, a: walk(e, a)._replace(parameters=torch.zeros(2, 4)))
    with pytest.raises(ValueError, match=r"Step\.reward must have shape \[2, 2\]"):
        run(model=lambda e, a: walk(e, a)._replace(reward=torch.zeros(2, 1)))
    with pytest.raises(ValueError, match=r"Samples\.action must be \[B, K, D\]"):
        run(proposal=Flat())


WRONG_ROOTS = {
    r"SampledRoot\.value must be \[B, P\], one column a player, found \[2\]; .*value\[:, None\]": lambda r: {
        "value": r.value[:, 0]
    },
    r"SampledRoot\.value must have shape \[1, 2\], found \[2, 2\]": lambda r: {"parameters": r.parameters[:1]},
    r"SampledRoot\.embedding must have 2 rows as SampledRoot\.parameters": lambda r: {"embedding": r.embedding[:1]},
    r"SampledRoot\.embedding must be a torch\.Tensor, found ndarray": lambda r: {"embedding": r.embedding.numpy()},
    r"SampledRoot\.seed must be a torch\.Tensor, found NoneType": lambda r: {"seed": None},
    r"SampledRoot\.to_play must be torch\.int64": lambda r: {"to_play": r.to_play.int()},
    r"SampledRoot\.parameters must be a torch\.Tensor, found float": lambda r: {"parameters": 1.0},
}


@pytest.mark.parametrize("message", WRONG_ROOTS)
def test_wrong_roots_are_refused(message, config):
    root = walk_root(2)
    with pytest.raises(ValueError, match=message):
        sampled_muzero(root._replace(**WRONG_ROOTS[message](root)), walk, Gaussian(3), 4, 4, config)


def test_an_embedding_may_be_one_number(config):
    """[B], as in the other searches: the same as [B, 1]."""
    root = walk_root(2)
    root = root._replace(embedding=root.embedding[:, 0, 0].contiguous())
    results = []
    for shape in ((), (1,)):

        def step(embedding, action, shape=shape):
            whole = embedding.reshape(-1, 1, 1).expand(-1, 2, 2)
            answer = walk(whole, action)
            return answer._replace(embedding=answer.embedding[:, 0, 0].reshape(-1, *shape))

        at = root._replace(embedding=root.embedding.reshape(-1, *shape))
        results.append(sampled_muzero(at, step, Gaussian(3), 6, 4, config))
    assert torch.equal(results[0].action, results[1].action)
    assert torch.equal(results[0].q_values, results[1].q_values)


WRONG_CALLS = {
    r"root must be a search\.SampledRoot, found Root": {"root": None},
    r"root must be a search\.SampledRoot, found tuple": {"root": ()},
    r"SampledRoot\.parameters must have at least one row": {"root": "empty"},
    r"num_simulations must be a whole number, found 2\.5": {"num_simulations": 2.5},
    r"num_samples must be a whole number, found True": {"num_samples": True},
    r"proposal must have a method `sample`, as search\.Gaussian\(D\) has, found None": {"proposal": None},
    r"proposal\.noise_size must be a whole number": {"proposal": type("P", (), {"sample": print, "noise_size": 1.5})()},
    r"recurrent_fn must be a function, found NoneType": {"recurrent_fn": None},
    r"config must be a search\.GumbelConfig or a search\.PUCTConfig, found NoneType": {"config": None},
    r"answer of proposal\.sample must be a search\.Samples, found tuple": {
        "proposal": type("P", (), {"sample": lambda self, p, n: (n, n[..., 0]), "noise_size": 1})()
    },
    r"answer of the recurrent function must be a search\.SampledStep, found tuple": {
        "recurrent_fn": lambda *at: tuple(walk(*at))
    },
    r"SampledStep\.parameters must be a torch\.Tensor, found NoneType": {
        "recurrent_fn": lambda *at: walk(*at)._replace(parameters=None)
    },
}


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("message", WRONG_CALLS)
def test_wrong_arguments_are_refused(message, check):
    root = walk_root(2)
    arguments = {"root": root, "recurrent_fn": walk, "proposal": Gaussian(3), "num_simulations": 4, "num_samples": 4}
    arguments |= WRONG_CALLS[message]
    if arguments["root"] == "empty":
        arguments["root"] = SampledRoot(*(x[:0] for x in root if x is not None))
    if arguments["root"] is None:
        arguments["root"] = random_model(1, 4, 1, 0.0, 1.0).root(2, 1.0, 0)
    if "sample must be a" in message and not check:
        pytest.skip("what the proposal gives is looked at with check=True")
    with pytest.raises(ValueError, match=message):
        sampled_muzero(**arguments, check=check)


def test_samples_that_cannot_fit_are_refused_before_they_are_drawn():
    # A node: 2^13 samples of 3 numbers and as much noise, 192 KiB, 64 KiB of edges, and what is the same for all.
    root = walk_root(1)
    with pytest.raises(ValueError, match=r"needs 409[6-9]\.\d GiB .*16777216 simulations"):
        sampled_muzero(root, walk, Gaussian(3), 2**24, 2**13)


class Flat:
    noise_size = 1

    def sample(self, parameters, noise):
        return Samples(noise[:, :, 0], torch.zeros(noise.shape[:2]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gaussian(0), "num_dimensions must be at least 1, found 0"),
        (lambda: Gaussian(1, temperature=0.0), "temperature must be a number from 1e-06"),
        (lambda: Gaussian(1, temperature=1e-320), "temperature must be a number from 1e-06"),
        (lambda: Gaussian(1, temperature=float("inf")), "temperature must be a number from 1e-06"),
        (lambda: Gaussian(1.5), "num_dimensions must be a whole number, found 1.5"),
        (lambda: Gaussian(2, torch.zeros(3)), r"low must be a number or \[2\] finite numbers, found tensor"),
        (lambda: Gaussian(2, high=torch.ones(1, 2)), r"high must be a number or \[2\] finite numbers, found tensor"),
        (lambda: Gaussian(2, high=torch.tensor([1.0, torch.inf])), r"high must be a number or \[2\] finite numbers"),
        (lambda: Gaussian(2, low=[0.0, 0.0]), r"low must be a number from .*, found \[0.0, 0.0\]"),
        (lambda: Gaussian(1, high=float("inf")), "high must be a number from .*, found inf"),
        (lambda: Gaussian(1, 1.0, 1.0), "high > low"),
        (lambda: Gaussian(2, torch.zeros(2), torch.tensor([1.0, -1.0])), "high > low"),
    ],
)
def test_bad_gaussians_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
