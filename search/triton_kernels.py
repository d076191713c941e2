"""The Triton kernels of the CUDA engine: in place over the batch's trees, one program a tree.

A hop waits for memory and little else, so what it needs of a node can be fetched at once, from the node's number
alone: one sector each of `INTS` and `FLOATS`, and the node's *slots*, one a visited child, in the order in which they
were made: `links`, Q, visits and prior of the edge. Of the unvisited actions only the best can be chosen, as in
`kernels.py`; this `candidate` is found when the node or its latest child is made, where all logits pass through
registers anyway. It is the successor of the child just made in the order of (prior, lower index), so no list of what
was visited is needed: visited actions are a prefix of that order (at Gumbel's root, of noise + logit).

`descend` notes its path; `expand_and_backup` then walks up 32 nodes at a time, a lane each: the returns are a chain
of maps `g -> reward + discount * g`, composed by a scan.

No program reads what it has written, so no barrier separates stores from loads; those there are keep one warp from
storing what another has yet to load. Addresses are 64-bit. Not compiled for AMD or CPU; TRITON_INTERPRET=1 (set
before this module is imported) runs everything on the CPU, slowly, for tests.

Names: B batch, N nodes, A actions, K slots a node = min(A, N - 1), P players. ints [B, N, 8] int32 and floats
[B, N, 8] float32, the fields below; stats [B, N, 3, P] float32 (VALUE, RAW, REWARD); logits [B, N, A]; links
[B, N, K] int64, slot_q, slot_visits, slot_prior [B, N, K]; root_keys [B, K] noise + logit of the root's slots; rows
[B, 4] float32 (LOW, HIGH, UNIT); path, path_slots [B, N] int32: nodes and slots on the way of this simulation;
ends [B, 8] int32: where it ended.
"""

# ruff: noqa: N803 - upper case: constexpr
# pyright: reportGeneralTypeIssues=false, reportAttributeAccessIssue=false
# No `from __future__ import annotations` here: Triton's interpreter reads the constexpr annotations themselves.

import triton
import triton.language as tl

# Fields of ints.
CHILDREN = tl.constexpr(0)  # how many slots are filled; -1: closed, never expanded below
VISITS = tl.constexpr(1)
CANDIDATE = tl.constexpr(2)  # the best unvisited action, -1: none
CHANCE = tl.constexpr(3)
TO_PLAY = tl.constexpr(4)
PARENT = tl.constexpr(5)
ACTION = tl.constexpr(6)
# Fields of floats.
CANDIDATE_PRIOR = tl.constexpr(0)
CANDIDATE_KEY = tl.constexpr(1)  # what candidates are ordered by: the logit; at Gumbel's root noise + logit
MEAN = tl.constexpr(2)  # mean value, for the mover
NETWORK = tl.constexpr(3)  # network's value, for the mover
NORMALISER = tl.constexpr(4)  # log of the sum of exp(logit)
DISCOUNT = tl.constexpr(5)
Q = tl.constexpr(6)  # of the edge into the node, for the seat that moves before it
RECORD = tl.constexpr(8)  # numbers a node in either
# Second last axis of stats.
VALUE = tl.constexpr(0)
RAW = tl.constexpr(1)
REWARD = tl.constexpr(2)
# Fields of rows.
LOW = tl.constexpr(0)
HIGH = tl.constexpr(1)
UNIT = tl.constexpr(2)
ROW = tl.constexpr(4)
# Fields of ends.
DEPTH = tl.constexpr(0)  # edges from the root to the leaf
FRESH = tl.constexpr(1)  # 1: the leaf is to be made
LEAF_PARENT = tl.constexpr(2)
LEAF_SLOT = tl.constexpr(3)
LEAF_ACTION = tl.constexpr(4)
END = tl.constexpr(8)

CONSTANT_UNIT = tl.constexpr(0)  # UNIT_KIND
NODE_RANGE = tl.constexpr(1)
TREE_RANGE = tl.constexpr(2)
DEFAULT_LOWEST = tl.constexpr(0)  # DEFAULT_KIND: PUCT's Q of unvisited actions
DEFAULT_NODE = tl.constexpr(1)
DEFAULT_TREE = tl.constexpr(2)
DEFAULT_FIXED = tl.constexpr(3)

# A link is (action, slot, child) in one number, action highest: the least of several is that of the lowest action.
FIELD_BITS = tl.constexpr(20)
FIELD = tl.constexpr(2**20 - 1)
NO_LINK = tl.constexpr(2**62)

MASKED = tl.constexpr(-(2.0**127))
INFINITY = tl.constexpr(float("inf"))
TINY = tl.constexpr(2.0**-126)  # the smallest normal float32


@triton.jit
def _slots(links, slot_q, slot_visits, slot_prior, first, children, fetch, BLOCK_K: tl.constexpr):
    """(filled, link, q, visits, prior) [BLOCK_K] of the node whose slots begin at `first`. fetch: how many are read;
    reading more than are filled needs not wait for `children`."""
    k = tl.arange(0, BLOCK_K)
    read, filled = k < fetch, k < children
    link = tl.load(links + first + k, mask=read, other=0)
    q = tl.load(slot_q + first + k, mask=read, other=0.0)
    visits = tl.load(slot_visits + first + k, mask=read, other=0)
    prior = tl.load(slot_prior + first + k, mask=read, other=0.0)
    link = tl.where(filled, link, NO_LINK)
    q = tl.where(filled, q, 0.0)
    visits = tl.where(filled, visits, 0)
    prior = tl.where(filled, tl.maximum(prior, TINY), 0.0)
    return filled, link, q, visits, prior


@triton.jit
def _best(filled, link, score):
    """(highest score, least link that has it) of the filled slots. A NaN counts as -inf: some link is always found."""
    score = tl.where(filled & (score == score), score, -INFINITY)
    top = tl.max(score, axis=0)
    return top, tl.min(tl.where(filled & (score == top), link, NO_LINK), axis=0)


@triton.jit
def _unit(low, high, row_low, row_high, row_unit, epsilon, UNIT_KIND: tl.constexpr):
    if UNIT_KIND == CONSTANT_UNIT:
        unit = row_unit
    elif UNIT_KIND == TREE_RANGE:
        unit = tl.maximum(row_high - row_low, epsilon)
    else:
        unit = tl.maximum(high - low, epsilon)
    return unit


@triton.jit
def _gumbel_statistics(
    filled,
    q,
    visits,
    prior,
    network,
    total_visits,
    candidate,
    row_low,
    row_high,
    row_unit,
    epsilon,
    visit_offset,
    value_scale,
    UNIT_KIND: tl.constexpr,
):
    """(mixed value, factor of sigma, prior mass of the visited, lowest and highest visited q);
    sigma(q) = factor * (q - mixed)."""
    mass = tl.sum(prior, axis=0)
    weighted = tl.sum(prior * q, axis=0)
    most = tl.max(visits, axis=0)
    low = tl.min(tl.where(filled, q, INFINITY), axis=0)
    high = tl.max(tl.where(filled, q, -INFINITY), axis=0)
    num_visits = (total_visits - 1).to(tl.float32)
    mixed = (network + num_visits * (weighted / tl.maximum(mass, TINY))) / (num_visits + 1.0)
    mixed = tl.where(most > 0, mixed, network)
    # The mixed value counts as a completed Q only where an action has it.
    unvisited = candidate >= 0
    counted_low = tl.where(unvisited, tl.minimum(low, mixed), low)
    counted_high = tl.where(unvisited, tl.maximum(high, mixed), high)
    unit = _unit(counted_low, counted_high, row_low, row_high, row_unit, epsilon, UNIT_KIND)
    factor = (visit_offset + most.to(tl.float32)) * value_scale / unit
    return mixed, factor, mass, low, high


@triton.jit(do_not_specialize=["simulation", "num_nodes", "max_children", "batch", "width", "limit"])
def descend(
    ints,
    floats,
    links,
    slot_q,
    slot_visits,
    slot_prior,
    root_keys,
    rows,
    considered,
    path,
    path_slots,
    ends,
    action_out,
    source_out,
    store,
    handed,
    simulation,
    num_nodes,
    max_children,
    batch,
    width,
    limit,
    epsilon,
    visit_offset,
    value_scale,
    pb_c_init,
    pb_c_base,
    fixed,
    GUMBEL: tl.constexpr,
    UNIT_KIND: tl.constexpr,
    DEFAULT_KIND: tl.constexpr,
    HAS_CHANCE: tl.constexpr,
    COPY: tl.constexpr,
    FETCH_ALL: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_E: tl.constexpr,
):
    """Selection of one simulation, number `simulation`: notes path and end, and hands on the parent's embedding.

    action_out [B] int64; source_out [B] int64: the parent's place in store [N * B, width]; handed [B, width]: filled
    with that row if COPY. considered [B, N - 1] int64.
    """
    b = tl.program_id(0).to(tl.int64)
    base = b * num_nodes
    new = simulation + 1
    row_low = tl.load(rows + b * ROW + LOW)
    row_high = tl.load(rows + b * ROW + HIGH)
    row_unit = tl.load(rows + b * ROW + UNIT)
    tl.store(path + base, 0)
    node = 0
    parent = 0
    action = 0
    slot = 0
    depth = 0
    fresh = limit < 0  # False
    alive = limit > 0  # True
    if GUMBEL:
        among = tl.load(considered + b * (num_nodes - 1) + simulation).to(tl.int32)
        children = tl.load(ints + base * RECORD + CHILDREN)
        candidate = tl.load(ints + base * RECORD + CANDIDATE)
        total_visits = tl.load(ints + base * RECORD + VISITS)
        network = tl.load(floats + base * RECORD + NETWORK)
        fetch = max_children if FETCH_ALL else children
        first = base * max_children
        k = tl.arange(0, BLOCK_K)
        keys = tl.load(root_keys + b * max_children + k, mask=k < fetch, other=0.0)
        filled, link, q, visits, prior = _slots(links, slot_q, slot_visits, slot_prior, first, children, fetch, BLOCK_K)
        mixed, factor, mass, low, high = _gumbel_statistics(
            filled,
            q,
            visits,
            prior,
            network,
            total_visits,
            candidate,
            row_low,
            row_high,
            row_unit,
            epsilon,
            visit_offset,
            value_scale,
            UNIT_KIND,
        )
        score = tl.where(visits == among, keys + factor * (q - mixed), -INFINITY)
        top, chosen = _best(filled, link, score)
        fresh = (children == 0) | ((among == 0) & (candidate >= 0))
        action = tl.where(fresh, tl.maximum(candidate, 0), (chosen >> (2 * FIELD_BITS)).to(tl.int32))
        slot = tl.where(fresh, children, ((chosen >> FIELD_BITS) & FIELD).to(tl.int32))
        child = tl.where(fresh, -1, (chosen & FIELD).to(tl.int32))
        depth = 1
        alive = (child >= 0) & (depth < limit)
        node = tl.where(alive, child, 0)
        tl.store(path + base + 1, tl.where(fresh, new, child))
        tl.store(path_slots + base + 1, slot)
    while alive:
        at = (base + node) * RECORD
        children = tl.load(ints + at + CHILDREN)
        candidate = tl.load(ints + at + CANDIDATE)
        total_visits = tl.load(ints + at + VISITS)
        candidate_prior = tl.load(floats + at + CANDIDATE_PRIOR)
        fetch = max_children if FETCH_ALL else children
        first = (base + node) * max_children
        filled, link, q, visits, prior = _slots(links, slot_q, slot_visits, slot_prior, first, children, fetch, BLOCK_K)
        own_visits = total_visits.to(tl.float32)  # 1 + the children's
        if GUMBEL:
            network = tl.load(floats + at + NETWORK)
            mixed, factor, mass, low, high = _gumbel_statistics(
                filled,
                q,
                visits,
                prior,
                network,
                total_visits,
                candidate,
                row_low,
                row_high,
                row_unit,
                epsilon,
                visit_offset,
                value_scale,
                UNIT_KIND,
            )
            # The highest sigma, without a pass of its own: it belongs to the highest q; the unvisited have 0.
            shift = tl.where(children > 0, tl.maximum(factor * (high - mixed), factor * (low - mixed)), -INFINITY)
            shift = tl.where(candidate >= 0, tl.maximum(shift, 0.0), shift)
            unvisited = tl.exp(-shift)  # of 1 prior
            weight = tl.where(filled, prior * tl.exp(factor * (q - mixed) - shift), 0.0)
            rest = tl.where(candidate >= 0, tl.maximum(1.0 - mass, candidate_prior) * unvisited, 0.0)
            total = tl.sum(weight, axis=0) + rest
            score = weight / total - visits.to(tl.float32) / own_visits
            candidate_score = candidate_prior * unvisited / total
        else:
            value = tl.load(floats + at + MEAN)
            low = tl.minimum(tl.min(tl.where(filled, q, INFINITY), axis=0), value)
            high = tl.maximum(tl.max(tl.where(filled, q, -INFINITY), axis=0), value)
            unit = _unit(low, high, row_low, row_high, row_unit, epsilon, UNIT_KIND)
            if DEFAULT_KIND == DEFAULT_LOWEST:
                default = low
            elif DEFAULT_KIND == DEFAULT_NODE:
                default = value
            elif DEFAULT_KIND == DEFAULT_TREE:
                default = row_low
            else:
                default = fixed
            weight = tl.sqrt(own_visits) * (pb_c_init + tl.log((own_visits + pb_c_base + 1.0) / pb_c_base))
            score = (q - value) / unit + weight * prior / (1 + visits).to(tl.float32)
            candidate_score = (default - value) / unit + weight * candidate_prior
        if HAS_CHANCE:
            chance = tl.load(ints + at + CHANCE) != 0
            score = tl.where(chance, prior / (1 + visits).to(tl.float32), score)
            candidate_score = tl.where(chance, candidate_prior, candidate_score)
        top, chosen = _best(filled, link, score)
        chosen_action = (chosen >> (2 * FIELD_BITS)).to(tl.int32)
        better = (candidate_score > top) | ((candidate_score == top) & (candidate < chosen_action))
        untried = (children == 0) | ((candidate >= 0) & better)
        # Not closed; if it is, the leaf is this node, once more. (`alive` is True here, but not on numpy, where all
        # programs take as many turns as the longest.)
        enter = alive & (children >= 0)
        parent = tl.where(enter, node, parent)
        action = tl.where(enter, tl.where(untried, tl.maximum(candidate, 0), chosen_action), action)
        slot = tl.where(enter, tl.where(untried, children, ((chosen >> FIELD_BITS) & FIELD).to(tl.int32)), slot)
        child = tl.where(untried, -1, (chosen & FIELD).to(tl.int32))
        fresh = tl.where(alive, enter & untried, fresh)
        tl.store(path + base + depth + 1, tl.where(untried, new, child), mask=enter)
        tl.store(path_slots + base + depth + 1, slot, mask=enter)
        depth = tl.where(enter, depth + 1, depth)
        alive = enter & (child >= 0) & (depth < limit)
        node = tl.where(alive, child, node)
    tl.store(ends + b * END + DEPTH, depth)
    tl.store(ends + b * END + FRESH, fresh.to(tl.int32))
    tl.store(ends + b * END + LEAF_PARENT, parent)
    tl.store(ends + b * END + LEAF_SLOT, slot)
    tl.store(ends + b * END + LEAF_ACTION, action)
    tl.store(action_out + b, action.to(tl.int64))
    source = batch.to(tl.int64) * parent + b
    tl.store(source_out + b, source)
    if COPY:
        for first_number in range(0, width, BLOCK_E):
            e = first_number + tl.arange(0, BLOCK_E)
            numbers = tl.load(store + source * width + e, mask=e < width)
            tl.store(handed + b * width + e, numbers.to(handed.dtype.element_ty), mask=e < width)


@triton.jit
def _compose(slope, offset, next_slope, next_offset):
    """First g -> slope * g + offset, then the next."""
    return slope * next_slope, next_slope * offset + next_offset


@triton.jit(
    do_not_specialize=[
        "embedding_stride",
        "reward_stride",
        "discount_stride",
        "value_stride",
        "logits_stride",
        "to_play_stride",
        "exists_stride",
        "chance_stride",
        "new",
        "num_nodes",
        "max_children",
        "batch",
        "width",
    ]
)
def expand_and_backup(
    ints,
    floats,
    stats,
    logits,
    links,
    slot_q,
    slot_visits,
    slot_prior,
    root_keys,
    rows,
    noise,
    path,
    path_slots,
    ends,
    store,
    embedding,
    reward,
    discount,
    value,
    step_logits,
    to_play,
    exists,
    chance,
    embedding_stride,
    reward_stride,
    discount_stride,
    value_stride,
    logits_stride,
    to_play_stride,
    exists_stride,
    chance_stride,
    new,
    num_nodes,
    max_children,
    batch,
    width,
    A: tl.constexpr,
    P: tl.constexpr,
    GUMBEL: tl.constexpr,
    UNIT_KIND: tl.constexpr,
    HAS_EXISTS: tl.constexpr,
    HAS_CHANCE: tl.constexpr,
    COPY: tl.constexpr,
    BLOCK_A: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_E: tl.constexpr,
):
    """Writes node `new` from the model's answer, or clears it where the simulation ended at an old node; backs up.

    embedding [B, width], reward, value [B, P], step_logits [B, A], discount, to_play [B] (int64), exists [B, A] and
    chance [B] (uint8), each with its row stride, the last axis dense. store [N * B, width], written if COPY.
    """
    b = tl.program_id(0).to(tl.int64)
    base = b * num_nodes
    depth = tl.load(ends + b * END + DEPTH)
    fresh = tl.load(ends + b * END + FRESH) != 0
    parent = tl.load(ends + b * END + LEAF_PARENT)
    slot = tl.load(ends + b * END + LEAF_SLOT)
    action = tl.load(ends + b * END + LEAF_ACTION)
    # What is no seat stays none (`border.check_tree` finds it after the search); no address depends on it.
    seat = tl.minimum(tl.maximum(tl.load(to_play + b * to_play_stride), -1), P).to(tl.int32)
    gamma = tl.load(discount + b * discount_stride).to(tl.float32)
    at_parent = (base + parent) * RECORD
    at_new = (base + new) * RECORD
    edge_prior = tl.load(floats + at_parent + CANDIDATE_PRIOR)
    last_key = tl.load(floats + at_parent + CANDIDATE_KEY)
    parent_normaliser = tl.load(floats + at_parent + NORMALISER)

    # One pass over the actions: copies the logits, and finds the new node's candidate and normaliser, and the
    # parent's next candidate. Each lane keeps the best of its own actions (indices rise, so ties stay the lowest).
    top = tl.full((BLOCK_A,), MASKED, tl.float32)
    total = tl.zeros((BLOCK_A,), tl.float32)
    best = tl.full((BLOCK_A,), -INFINITY, tl.float32)
    best_action = tl.full((BLOCK_A,), A, tl.int32)
    successor = tl.full((BLOCK_A,), -INFINITY, tl.float32)
    successor_action = tl.full((BLOCK_A,), A, tl.int32)
    for first_action in range(0, A, BLOCK_A):
        a = first_action + tl.arange(0, BLOCK_A)
        inside = a < A
        x = tl.load(step_logits + b * logits_stride + a, mask=inside, other=0.0).to(tl.float32)
        old = tl.load(logits + (base + parent) * A + a, mask=inside, other=MASKED)
        key = old
        if GUMBEL:
            key += tl.load(noise + b * A + a, mask=inside & (parent == 0), other=0.0)
        if HAS_EXISTS:
            there = tl.load(exists + b * exists_stride + a, mask=inside, other=0) != 0
            x = tl.where(there, x, MASKED)
        x = tl.where(inside, x, MASKED)
        tl.store(logits + (base + new) * A + a, tl.where(fresh, x, 0.0), mask=inside)
        allowed = x > MASKED
        highest = tl.maximum(top, x)
        total = total * tl.exp(top - highest) + tl.where(allowed, tl.exp(x - highest), 0.0)
        top = highest
        better = allowed & (x > best)
        best = tl.where(better, x, best)
        best_action = tl.where(better, a, best_action)
        after = (key < last_key) | ((key == last_key) & (a > action))
        better = (old > MASKED) & after & (key > successor)
        successor = tl.where(better, key, successor)
        successor_action = tl.where(better, a, successor_action)
    highest = tl.max(top, axis=0)
    normaliser = highest + tl.log(tl.maximum(tl.sum(total * tl.exp(top - highest), axis=0), TINY))
    key = tl.max(best, axis=0)
    candidate = tl.min(tl.where(best == key, best_action, A), axis=0)
    candidate_prior = tl.where(candidate < A, tl.exp(key - normaliser), 0.0)
    candidate = tl.where(candidate < A, candidate, -1)
    next_key = tl.max(successor, axis=0)
    next_candidate = tl.min(tl.where(successor == next_key, successor_action, A), axis=0)
    next_logit = tl.load(logits + (base + parent) * A + next_candidate, mask=next_candidate < A, other=MASKED)
    next_prior = tl.where(next_candidate < A, tl.exp(next_logit - parent_normaliser), 0.0)
    next_candidate = tl.where(next_candidate < A, next_candidate, -1)
    closed = (gamma == 0.0) | (candidate < 0)
    is_chance = fresh & False
    if HAS_CHANCE:
        is_chance = tl.load(chance + b * chance_stride) != 0

    # Every warp has its copy of the parent's record before it is overwritten.
    tl.debug_barrier()
    tl.store(ints + at_new + CHILDREN, tl.where(fresh & (closed == 0), 0, -1))
    tl.store(ints + at_new + CANDIDATE, candidate)
    tl.store(ints + at_new + CHANCE, is_chance.to(tl.int32))
    tl.store(ints + at_new + TO_PLAY, tl.where(fresh, seat, 0))
    tl.store(ints + at_new + PARENT, tl.where(fresh, parent, -1))
    tl.store(ints + at_new + ACTION, tl.where(fresh, action, -1))
    tl.store(ints + at_new + VISITS, 0, mask=fresh == 0)  # the backup writes the fresh node's
    tl.store(floats + at_new + CANDIDATE_PRIOR, candidate_prior)
    tl.store(floats + at_new + CANDIDATE_KEY, key)
    tl.store(floats + at_new + NORMALISER, normaliser)
    tl.store(floats + at_new + DISCOUNT, tl.where(fresh, gamma, 0.0))
    tl.store(ints + at_parent + CHILDREN, slot + 1, mask=fresh)
    tl.store(ints + at_parent + CANDIDATE, next_candidate, mask=fresh)
    tl.store(floats + at_parent + CANDIDATE_PRIOR, next_prior, mask=fresh)
    tl.store(floats + at_parent + CANDIDATE_KEY, next_key, mask=fresh)
    edge = (base + parent) * max_children + slot
    link = (action.to(tl.int64) << (2 * FIELD_BITS)) | (slot.to(tl.int64) << FIELD_BITS) | new
    tl.store(links + edge, link, mask=fresh)
    tl.store(slot_prior + edge, edge_prior, mask=fresh)
    if GUMBEL:
        tl.store(root_keys + b * max_children + slot, last_key, mask=fresh & (parent == 0))

    # Up the path, BLOCK_D nodes at a time; lane i is at depth `deepest - i`. One player after the other.
    low = tl.load(rows + b * ROW + LOW)
    high = tl.load(rows + b * ROW + HIGH)
    leaf = tl.load(path + base + depth).to(tl.int64)
    i = tl.arange(0, BLOCK_D)
    for p in tl.static_range(P):
        step_value = tl.load(value + b * value_stride + p).to(tl.float32)
        step_reward = tl.load(reward + b * reward_stride + p).to(tl.float32)
        old_raw = tl.load(stats + ((base + leaf) * 3 + RAW) * P + p, mask=fresh == 0, other=0.0)
        carry = tl.where(fresh, step_value, old_raw)  # the return, seen from the deepest node
        tl.store(stats + ((base + new) * 3 + VALUE) * P + p, 0.0, mask=fresh == 0)
        tl.store(stats + ((base + new) * 3 + RAW) * P + p, tl.where(fresh, step_value, 0.0))
        tl.store(stats + ((base + new) * 3 + REWARD) * P + p, tl.where(fresh, step_reward, 0.0))
        tl.store(floats + at_new + NETWORK, step_value, mask=fresh & (seat == p))
        deepest = depth
        while deepest >= 0:
            d = deepest - i
            here = d >= 0
            made = fresh & (d == depth)  # the new node: nothing of it is read from memory
            above_made = fresh & (d == depth - 1)
            node = base + tl.load(path + base + d, mask=here, other=0)
            below = base + tl.load(path + base + d + 1, mask=here & (d < depth), other=0)
            above = base + tl.load(path + base + d - 1, mask=d > 0, other=0)
            in_slot = tl.load(path_slots + base + d, mask=d > 0, other=0)
            # The edge below carries the return up to here.
            known = here & (d < depth) & (above_made == 0)
            slope = tl.load(floats + below * RECORD + DISCOUNT, mask=known, other=1.0)
            offset = tl.load(stats + (below * 3 + REWARD) * P + p, mask=known, other=0.0)
            slope = tl.where(above_made, gamma, slope)
            offset = tl.where(above_made, step_reward, offset)
            slope, offset = tl.associative_scan((slope, offset), 0, _compose)
            returns = slope * carry + offset
            old = here & (made == 0)
            visits = tl.load(ints + node * RECORD + VISITS, mask=old, other=0)
            mean = tl.load(stats + (node * 3 + VALUE) * P + p, mask=old, other=0.0)
            own = tl.load(ints + node * RECORD + TO_PLAY, mask=old, other=0)
            own = tl.where(made, seat, own)
            own_discount = tl.load(floats + node * RECORD + DISCOUNT, mask=old, other=0.0)
            own_discount = tl.where(made, gamma, own_discount)
            own_reward = tl.load(stats + (node * 3 + REWARD) * P + p, mask=old, other=0.0)
            own_reward = tl.where(made, step_reward, own_reward)
            mover = tl.load(ints + above * RECORD + TO_PLAY, mask=d > 0, other=-1)
            mean = mean + (returns - mean) / (visits + 1).to(tl.float32)
            q = own_reward + own_discount * mean
            its = (d > 0) & (mover == p)  # q is the mover's
            if UNIT_KIND == TREE_RANGE:
                counts = its
                if HAS_CHANCE:
                    counts = its & (tl.load(ints + above * RECORD + CHANCE, mask=d > 0, other=0) == 0)
                low = tl.minimum(low, tl.min(tl.where(counts, q, INFINITY), axis=0))
                high = tl.maximum(high, tl.max(tl.where(counts, q, -INFINITY), axis=0))
            carry = tl.sum(tl.where(i == BLOCK_D - 1, returns, 0.0), axis=0)
            tl.debug_barrier()  # every warp has read what is overwritten now
            tl.store(stats + (node * 3 + VALUE) * P + p, mean, mask=here)
            tl.store(floats + node * RECORD + MEAN, mean, mask=here & (own == p))
            tl.store(floats + node * RECORD + Q, q, mask=its)
            tl.store(slot_q + above * max_children + in_slot, q, mask=its)
            if p == P - 1:
                tl.store(ints + node * RECORD + VISITS, visits + 1, mask=here)
                tl.store(slot_visits + above * max_children + in_slot, visits + 1, mask=d > 0)
            deepest -= BLOCK_D
    if UNIT_KIND == TREE_RANGE:
        tl.debug_barrier()
        tl.store(rows + b * ROW + LOW, low)
        tl.store(rows + b * ROW + HIGH, high)
    if COPY:
        target = (new * batch.to(tl.int64) + b) * width
        for first_number in range(0, width, BLOCK_E):
            e = first_number + tl.arange(0, BLOCK_E)
            numbers = tl.load(embedding + b * embedding_stride + e, mask=e < width)
            tl.store(store + target + e, numbers.to(store.dtype.element_ty), mask=e < width)


@triton.jit(do_not_specialize=["num_nodes"])
def start(
    ints,
    floats,
    stats,
    logits,
    rows,
    noise,
    root_logits,
    root_value,
    to_play,
    unit,
    num_nodes,
    A: tl.constexpr,
    P: tl.constexpr,
    GUMBEL: tl.constexpr,
    BLOCK_A: tl.constexpr,
):
    """Node 0. root_logits [B, A], root_value [B, P], to_play, unit [B]: contiguous."""
    b = tl.program_id(0).to(tl.int64)
    base = b * num_nodes
    seat = tl.load(to_play + b).to(tl.int32)
    top = tl.full((BLOCK_A,), MASKED, tl.float32)
    total = tl.zeros((BLOCK_A,), tl.float32)
    best = tl.full((BLOCK_A,), -INFINITY, tl.float32)
    best_action = tl.full((BLOCK_A,), A, tl.int32)
    for first_action in range(0, A, BLOCK_A):
        a = first_action + tl.arange(0, BLOCK_A)
        x = tl.load(root_logits + b * A + a, mask=a < A, other=MASKED)
        tl.store(logits + base * A + a, x, mask=a < A)
        key = x
        if GUMBEL:
            key += tl.load(noise + b * A + a, mask=a < A, other=0.0)
        allowed = x > MASKED
        highest = tl.maximum(top, x)
        total = total * tl.exp(top - highest) + tl.where(allowed, tl.exp(x - highest), 0.0)
        top = highest
        better = allowed & (key > best)
        best = tl.where(better, key, best)
        best_action = tl.where(better, a, best_action)
    highest = tl.max(top, axis=0)
    normaliser = highest + tl.log(tl.maximum(tl.sum(total * tl.exp(top - highest), axis=0), TINY))
    key = tl.max(best, axis=0)
    candidate = tl.min(tl.where(best == key, best_action, A), axis=0)
    logit = tl.load(root_logits + b * A + candidate, mask=candidate < A, other=MASKED)
    candidate_prior = tl.where(candidate < A, tl.exp(logit - normaliser), 0.0)
    at = base * RECORD
    tl.store(ints + at + CHILDREN, 0)
    tl.store(ints + at + VISITS, 1)
    tl.store(ints + at + CANDIDATE, tl.where(candidate < A, candidate, -1))
    tl.store(ints + at + CHANCE, 0)
    tl.store(ints + at + TO_PLAY, seat)
    tl.store(ints + at + PARENT, -1)
    tl.store(ints + at + ACTION, -1)
    tl.store(floats + at + CANDIDATE_PRIOR, candidate_prior)
    tl.store(floats + at + CANDIDATE_KEY, key)
    tl.store(floats + at + NORMALISER, normaliser)
    tl.store(floats + at + DISCOUNT, 0.0)
    tl.store(floats + at + Q, 0.0)
    tl.store(rows + b * ROW + UNIT, tl.load(unit + b))
    for p in tl.static_range(P):
        value = tl.load(root_value + b * P + p)
        tl.store(stats + (base * 3 + VALUE) * P + p, value)
        tl.store(stats + (base * 3 + RAW) * P + p, value)
        tl.store(stats + (base * 3 + REWARD) * P + p, 0.0)
        tl.store(floats + at + MEAN, value, mask=seat == p)
        tl.store(floats + at + NETWORK, value, mask=seat == p)
        tl.store(rows + b * ROW + LOW, value, mask=seat == p)
        tl.store(rows + b * ROW + HIGH, value, mask=seat == p)
