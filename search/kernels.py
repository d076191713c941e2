"""The numba kernels of the CPU engine: in place over the batch's trees, one row after the other.

A node is one record of `NODE` (a cache line), and what a choice needs of its visited children lies together in a block
of `LINK` records that doubles when it is full. So a hop reads little and costs O(visited children) instead of
O(actions): of the others only `candidate` is looked at, the best unvisited action. Unvisited actions of a node share
their Q (Gumbel: the mixed value, so sigma = 0; PUCT: one default), so the best of them is the one with the highest
prior (at a Gumbel root: the highest noise + logit), and it alone can win. The softmax needs all actions once a node,
for `log_normaliser`; from then on the unvisited have the share that the visited leave. Nodes that are never entered
again never pay for it.

Names: nodes [N] NODE, links [4 N] LINK, stats [N, 3, P] float32 (VALUE, RAW, REWARD), edges [N, A] int32
(`Tree.child`), logits [N, A] float32, noise [A] float32 of one tree; row, its `ROW`; rule, the `RULE` of the search;
slots [K] SLOT, the evaluations of one network call: one a row, or with waves one for each simulation that shares the
row's visit level.
"""

from __future__ import annotations

import math

import numpy as np
from numba import carray  # pyright: ignore[reportPrivateImportUsage]

from search import fastmath, lanes
from search.compile import compiled, pointer
from search.native import call_model

NONE = -1  # candidate: every action is visited
STALE = -2  # candidate: must be looked for again
UNKNOWN = -3  # candidate: nothing computed yet, the normaliser neither

CONSTANT_UNIT, NODE_RANGE, TREE_RANGE = 0, 1, 2  # RULE.unit_kind
DEFAULT_LOWEST, DEFAULT_NODE, DEFAULT_TREE, DEFAULT_FIXED = 0, 1, 2, 3  # RULE.default_kind: PUCT's unvisited Q
VALUE, RAW, REWARD = 0, 1, 2  # second axis of stats

NODE = np.dtype(
    [
        ("to_play", np.int64),
        ("parent", np.int32),
        ("action", np.int32),
        ("visits", np.int32),
        ("first", np.int32),  # of its block of links
        ("children", np.int32),  # links in use
        ("capacity", np.int32),
        ("place", np.int32),  # of its own link, in the parent's block
        ("candidate", np.int32),
        ("closed", np.int8),  # never expanded below: behind a terminal edge, or no action exists
        ("chance", np.int8),  # a chance node: its outcomes are taken in proportion to their prior
        ("unused", np.int16),
        ("discount", np.float32),
        ("candidate_prior", np.float32),
        ("log_normaliser", np.float32),
        ("raw_value", np.float32),  # the mover's
        ("value", np.float32),  # the mover's
    ]
)
LINK = np.dtype(  # a visited child, as its parent sees it
    [
        ("q", np.float32),  # reward + discount * value, for the seat that moves in the parent
        ("prior", np.float32),
        ("visits", np.int32),
        ("action", np.int32),
        ("child", np.int32),
        ("scratch", np.float32),
    ]
)
ROW = np.dtype(
    [
        ("low", np.float32),  # lowest q seen in the tree
        ("high", np.float32),
        ("unit", np.float32),
        ("simulation", np.int32),  # the next one
        ("links", np.int32),  # in use or left behind
    ]
)
SLOT = np.dtype(  # one simulation of one row that waits for the network's answer
    [
        ("row", np.int32),
        ("new", np.int32),  # the simulation's own node
        ("existing", np.int32),  # where it ended: an old node, or -1: `new` is to be made
        ("leaf_parent", np.int32),
        ("leaf_action", np.int32),
        ("prior", np.float32),
    ]
)
RULE = np.dtype(
    [
        ("limit", np.int64),
        ("unit_kind", np.int64),
        ("epsilon", np.float32),
        ("visit_offset", np.float32),
        ("value_scale", np.float32),
        ("pb_c_init", np.float32),
        ("pb_c_base", np.float32),
        ("fixed", np.float32),
        ("default_kind", np.int64),
    ]
)

_MASKED = np.float32(-(2.0**127))
_INFINITY = np.float32(np.inf)
_TINY = np.float32(np.finfo(np.float32).tiny)


@compiled
def _borrow(nodes, links, stats, edges, logits, rows):
    """The same arrays without numba's reference counts, whose atomic updates cost some 10 ns at every row and view.
    Only for arguments: what a kernel allocates itself would be freed under it."""
    return (
        carray(pointer(nodes.ctypes.data), nodes.shape, NODE),
        carray(pointer(links.ctypes.data), links.shape, LINK),
        carray(pointer(stats.ctypes.data), stats.shape, np.float32),
        carray(pointer(edges.ctypes.data), edges.shape, np.int32),
        carray(pointer(logits.ctypes.data), logits.shape, np.float32),
        carray(pointer(rows.ctypes.data), rows.shape, ROW),
    )


@compiled
def _borrow_floats(numbers):
    return carray(pointer(numbers.ctypes.data), numbers.shape, np.float32)


@compiled
def _copy_(target, source, count):
    """count float32 numbers from address to address; they do not overlap."""
    into, numbers = _at(target, count, np.float32), _at(source, count, np.float32)
    for i in range(count):
        into[i] = numbers[i]


@compiled
def _find_candidate_(index, nodes, edges, logits, noise, by_noise):
    """Fills `candidate`, `candidate_prior` and, the first time, `log_normaliser` of a node."""
    node, num_actions = nodes[index], logits.shape[1]
    logit, child = logits[index].ctypes.data, edges[index].ctypes.data
    if node.candidate == UNKNOWN:
        top, total = lanes.log_sum_exp_parts(logit, num_actions)
        node.log_normaliser = top + math.log(max(total, _TINY))
    if by_noise:
        node.candidate = lanes.best_by_noise(logit, noise.ctypes.data, child, num_actions)
    else:
        node.candidate = lanes.best_by_logit(logit, logit, child, num_actions)
    if node.candidate >= 0:
        node.candidate_prior = fastmath.exp(logits[index, node.candidate] - node.log_normaliser)


@compiled
def _gumbel_statistics(node, links, row, rule):
    """(mixed value, factor of sigma, prior mass of the visited) of a node; sigma(q) = factor * (q - mixed)."""
    mass, weighted, most = np.float32(0), np.float32(0), np.int32(0)
    low, high = _INFINITY, -_INFINITY
    for c in range(node.first, node.first + node.children):
        q, prior = links[c].q, max(links[c].prior, _TINY)
        mass += prior
        weighted += prior * q
        most = max(most, links[c].visits)
        low, high = min(low, q), max(high, q)
    mixed = node.raw_value
    if most > 0:
        num_visits = np.float32(node.visits - 1)
        mixed = (mixed + num_visits * (weighted / mass)) / (num_visits + np.float32(1))
    if rule.unit_kind == CONSTANT_UNIT:
        unit = row.unit
    elif rule.unit_kind == TREE_RANGE:
        unit = max(row.high - row.low, rule.epsilon)
    else:
        if node.candidate >= 0:  # some action is completed by the mixed value
            low, high = min(low, mixed), max(high, mixed)
        unit = max(high - low, rule.epsilon)
    return mixed, (rule.visit_offset + np.float32(most)) * rule.value_scale / unit, mass


@compiled
def _gumbel_at_root(among, node, links, logits, noise, row, rule):
    """The link of the root with the best noise + logit + sigma among those with `among` > 0 visits; -1: none."""
    mixed, factor, _ = _gumbel_statistics(node, links, row, rule)
    best, best_action, best_score = -1, np.int32(-1), -_INFINITY
    for c in range(node.first, node.first + node.children):
        if links[c].visits == among:
            a = links[c].action
            score = noise[a] + logits[0, a] + factor * (links[c].q - mixed)
            if best < 0 or score > best_score or (score == best_score and a < best_action):
                best, best_action, best_score = c, a, score
    return best


@compiled
def _gumbel_inside(node, links, row, rule):
    """The link with the best improved policy - visits / (1 + sum of visits); -1: the candidate is better."""
    mixed, factor, mass = _gumbel_statistics(node, links, row, rule)
    first, last = node.first, node.first + node.children
    shift = np.float32(0) if node.candidate >= 0 else -_INFINITY  # the highest sigma; the unvisited have 0
    for c in range(first, last):
        shift = max(shift, factor * (links[c].q - mixed))
    total = np.float32(0)
    best, best_action, best_score = -1, node.candidate, -_INFINITY
    if best_action >= 0:
        weight = fastmath.exp(-shift)
        best_score = node.candidate_prior * weight
        total = max(np.float32(1) - mass, node.candidate_prior) * weight
    for c in range(first, last):
        weight = links[c].prior * fastmath.exp(factor * (links[c].q - mixed) - shift)
        links[c].scratch = weight
        total += weight
    per_total, per_visit = np.float32(1) / total, np.float32(1) / np.float32(node.visits)  # visits: 1 + the children's
    best_score *= per_total
    for c in range(first, last):
        a, score = links[c].action, links[c].scratch * per_total - np.float32(links[c].visits) * per_visit
        if best_action < 0 or score > best_score or (score == best_score and a < best_action):
            best, best_action, best_score = c, a, score
    return best


@compiled
def _puct_choice(node, links, row, rule, weights):
    """The link with PUCT's best score; -1: the candidate is better."""
    value = node.value
    low, high = value, value
    first, last = node.first, node.first + node.children
    for c in range(first, last):
        low, high = min(low, links[c].q), max(high, links[c].q)
    if rule.unit_kind == CONSTANT_UNIT:
        unit = row.unit
    elif rule.unit_kind == TREE_RANGE:
        unit = max(row.high - row.low, rule.epsilon)
    else:
        unit = max(high - low, rule.epsilon)
    if rule.default_kind == DEFAULT_LOWEST:
        default = low
    elif rule.default_kind == DEFAULT_NODE:
        default = value
    elif rule.default_kind == DEFAULT_TREE:
        default = row.low
    else:
        default = rule.fixed
    weight = weights[node.visits]
    per_unit = np.float32(1) / unit
    best, best_action, best_score = -1, node.candidate, -_INFINITY
    if best_action >= 0:
        best_score = (default - value) * per_unit + weight * node.candidate_prior
    for c in range(first, last):
        exploration = weight * links[c].prior / np.float32(1 + links[c].visits)
        a, score = links[c].action, (links[c].q - value) * per_unit + exploration
        if best_action < 0 or score > best_score or (score == best_score and a < best_action):
            best, best_action, best_score = c, a, score
    return best


@compiled
def _chance_choice(node, links):
    """The link of the outcome with the highest prior / (1 + visits); -1: the candidate."""
    best, best_action, best_score = -1, node.candidate, -_INFINITY
    if best_action >= 0:
        best_score = node.candidate_prior
    for c in range(node.first, node.first + node.children):
        a, score = links[c].action, links[c].prior / np.float32(1 + links[c].visits)
        if best_action < 0 or score > best_score or (score == best_score and a < best_action):
            best, best_action, best_score = c, a, score
    return best


@compiled
def _can_enter_(index, nodes, edges, logits):
    """Whether an action can be chosen at a node below the root, or at PUCT's root; makes its candidate ready."""
    if nodes[index].closed:
        return False
    if nodes[index].candidate < NONE:
        _find_candidate_(index, nodes, edges, logits, logits[index], False)
    return nodes[index].candidate >= 0 or nodes[index].children > 0


@compiled
def _arrive_(b, index, child, nodes, row, slot):
    """Notes where a simulation of row b ends: at `child` again, or where the candidate of node `index` will be."""
    slot.row = b
    slot.existing = child
    slot.leaf_parent = index
    slot.leaf_action = max(nodes[child].action if child >= 0 else nodes[index].candidate, 0)
    slot.prior = nodes[index].candidate_prior
    row.simulation += 1
    slot.new = row.simulation


@compiled
def _take_best_of_root_(among, nodes, links, edges, logits, noise, row, rule, taken):
    """The root's link for the next simulation, -1: its candidate. taken: how many the wave has chosen before; those
    are passed over, by the mark `scratch` or, if they are new, by `edges`."""
    node = nodes[0]
    if among == 0 and taken > 0 and node.candidate >= 0:
        edges[0, node.candidate] = 0  # reserved; the answer puts the right index there
        node.candidate = STALE
    if node.candidate < NONE:
        _find_candidate_(0, nodes, edges, logits, noise, True)
    if node.children == 0 or (among == 0 and node.candidate >= 0):  # no child, no candidate: only NaN in the root
        return -1
    first, last = node.first, node.first + node.children
    if taken == 0:
        mixed, factor, _ = _gumbel_statistics(node, links, row, rule)
        for c in range(first, last):
            a = links[c].action
            links[c].scratch = noise[a] + logits[0, a] + factor * (links[c].q - mixed)
    best, best_action, best_score = -1, np.int32(-1), -_INFINITY
    for c in range(first, last):
        a = links[c].action
        score = links[c].scratch if links[c].visits == among else -_INFINITY
        if score > best_score or (score == best_score and score > -_INFINITY and a < best_action):
            best, best_action, best_score = c, a, score
    if best < 0:  # only if the network answered with NaN
        best = first
    links[best].scratch = -_INFINITY
    return best


@compiled
def descend_gumbel_(nodes, links, stats, edges, logits, rows, rules, noise, considered, waves, slots):
    """Selection of one simulation in all rows, or, with waves, of all that share a visit level; fills slots [K] and
    returns K, 0 at the end."""
    nodes, links, stats, edges, logits, rows = _borrow(nodes, links, stats, edges, logits, rows)
    noise, slots = _borrow_floats(noise), carray(pointer(slots.ctypes.data), slots.shape, SLOT)
    rule, num_slots, num_simulations = rules[0], 0, considered.shape[1]
    for b in range(nodes.shape[0]):
        tree, tree_links, row = nodes[b], links[b], rows[b]
        if row.simulation >= num_simulations:
            continue
        among, taken = considered[b, row.simulation], 0
        while row.simulation < num_simulations and considered[b, row.simulation] == among and (waves or taken == 0):
            link = _take_best_of_root_(among, tree, tree_links, edges[b], logits[b], noise[b], row, rule, taken)
            child = tree_links[link].child if link >= 0 else -1
            index, depth = 0, 1
            while child >= 0 and depth < rule.limit and _can_enter_(child, tree, edges[b], logits[b]):
                index, depth = child, depth + 1
                if tree[index].chance:
                    link = _chance_choice(tree[index], tree_links)
                else:
                    link = _gumbel_inside(tree[index], tree_links, row, rule)
                child = tree_links[link].child if link >= 0 else -1
            _arrive_(b, index, child, tree, row, slots[num_slots])
            taken += 1
            num_slots += 1
    return num_slots


@compiled
def puct_weights_(rules, weights):
    """Fills weights [N + 1] with PUCT's factor of prior / (1 + n) at a node of 0, 1, ... N visits, its own counted."""
    rule = rules[0]
    for visits in range(weights.shape[0]):
        total = np.float32(visits)
        growth = math.log((total + rule.pb_c_base + np.float32(1)) / rule.pb_c_base)
        weights[visits] = math.sqrt(total) * (rule.pb_c_init + growth)


@compiled
def descend_puct_(nodes, links, stats, edges, logits, rows, rules, weights, slots):
    """Selection of one simulation in all rows: fills slots [B]. weights: of `puct_weights_`."""
    nodes, links, stats, edges, logits, rows = _borrow(nodes, links, stats, edges, logits, rows)
    slots = carray(pointer(slots.ctypes.data), slots.shape, SLOT)
    rule = rules[0]
    for b in range(nodes.shape[0]):
        tree, tree_links, row = nodes[b], links[b], rows[b]
        index, child, depth = 0, 0, 0
        while child >= 0 and depth < rule.limit and _can_enter_(child, tree, edges[b], logits[b]):
            index, depth = child, depth + 1
            if tree[index].chance:
                link = _chance_choice(tree[index], tree_links)
            else:
                link = _puct_choice(tree[index], tree_links, row, rule, weights)
            child = tree_links[link].child if link >= 0 else -1
        _arrive_(b, index, child, tree, row, slots[b])


@compiled
def address_(slots, num_slots, first, batch, action, row, source, target):
    """Of the slots' simulations: action and row [K], and the places of the parent's and of the new node's embedding
    in the store [N * batch]. first: row of the batch that the slots count from."""
    for k in range(num_slots):
        slot = slots[k]
        b = first + slot.row
        action[k], row[k] = slot.leaf_action, b
        source[k], target[k] = slot.leaf_parent * batch + b, slot.new * batch + b


@compiled
def _clear_(new, nodes, stats, edges, logits):
    """Node `new` as if it had never been used."""
    node = nodes[new]
    node.parent, node.action, node.visits = -1, -1, 0
    node.first, node.children, node.capacity, node.candidate = 0, 0, 0, UNKNOWN
    node.discount, node.to_play = 0, 0
    stats[new] = 0
    edges[new] = -1
    logits[new] = 0


@compiled
def _new_link_(node, nodes, links, row):
    """The place of one more link of a node; a full block moves to one of twice the size."""
    if node.children == node.capacity:
        start, node.capacity = row.links, max(2, 2 * node.capacity)
        for c in range(node.children):
            links[start + c] = links[node.first + c]
            nodes[links[start + c].child].place = start + c
        node.first = start
        row.links = start + node.capacity
    node.children += 1
    return node.first + node.children - 1


@compiled
def _expand_(nodes, links, edges, logits, row, slot, step_logits, start):
    """Writes the links and the prior of a new node; its logits begin `start` numbers behind the address step_logits."""
    parent, node = nodes[slot.leaf_parent], nodes[slot.new]
    edges[slot.leaf_parent, slot.leaf_action] = slot.new
    node.parent, node.action, node.visits = slot.leaf_parent, slot.leaf_action, 0
    node.first, node.children, node.capacity = 0, 0, 0
    parent.candidate, node.candidate = STALE, UNKNOWN
    node.place = _new_link_(parent, nodes, links, row)
    link = links[node.place]
    link.prior, link.visits, link.action, link.child = slot.prior, 0, slot.leaf_action, slot.new
    edge = edges[slot.new]
    for a in range(edge.shape[0]):
        edge[a] = -1
    _copy_(logits[slot.new].ctypes.data, step_logits + start * 4, edge.shape[0])


@compiled
def _leave_out_(logits, exists):
    """Masks logits [A] where exists [A] is False; whether any action is left."""
    found = False
    for a in range(logits.shape[0]):
        if exists[a]:
            found = True
        else:
            logits[a] = _MASKED
    return found


@compiled
def _backup_(leaf, nodes, links, stats, row, returns):
    """Carries the leaf's network value up to the root; returns: [P], overwritten."""
    num_players = returns.shape[0]
    for p in range(num_players):
        returns[p] = stats[leaf, RAW, p]
    index = leaf
    while True:
        node = nodes[index]
        node.visits += 1
        per_visit = np.float32(1) / np.float32(node.visits)
        for p in range(num_players):
            stats[index, VALUE, p] += (returns[p] - stats[index, VALUE, p]) * per_visit
        node.value = stats[index, VALUE, node.to_play]
        if node.parent < 0:
            break
        parent, link = nodes[node.parent], links[node.place]
        mover = parent.to_play
        link.visits = node.visits
        link.q = stats[index, REWARD, mover] + node.discount * stats[index, VALUE, mover]
        if not parent.chance:
            row.low, row.high = min(row.low, link.q), max(row.high, link.q)
        for p in range(num_players):
            returns[p] = stats[index, REWARD, p] + node.discount * returns[p]
        index = node.parent


@compiled
def _at(address, size, dtype):
    """The `size` numbers at an address."""
    return carray(pointer(address), (size,), dtype)  # pyright: ignore[reportCallIssue]


@compiled
def expand_and_backup_(nodes, links, stats, edges, logits, rows, slots, answer, exists, exists_by_row, chance):
    """Expansion and backup of the slots' simulations; the first slot whose mover is no seat, or -1.

    answer: address and row stride, in items, of the K rows of reward [K, P], value [K, P], prior_logits [K, A],
    discount [K] (float32) and to_play [K] (int64); their last axis is dense. exists: [K, A] of the new nodes, or
    [B, A] of the rows if exists_by_row; [0, 0]: every action exists. chance: [K] bool, [0]: no node is a chance node.
    """
    nodes, links, stats, edges, logits, rows = _borrow(nodes, links, stats, edges, logits, rows)
    num_slots, num_players = slots.shape[0], stats.shape[3]
    reward = _at(answer[0], num_slots * answer[1] + num_players, np.float32)
    value = _at(answer[2], num_slots * answer[3] + num_players, np.float32)
    discounts = _at(answer[6], num_slots * answer[7] + 1, np.float32)
    seats = _at(answer[8], num_slots * answer[9] + 1, np.int64)
    returns = np.empty(num_players, np.float32)
    for k in range(num_slots):
        slot, seat, discount = slots[k], seats[k * answer[9]], discounts[k * answer[7]]
        if seat < 0 or seat >= num_players:
            return k
        b, new, leaf = slot.row, slot.new, slot.existing
        tree, stat = nodes[b], stats[b]
        if leaf >= 0:
            _clear_(new, tree, stat, edges[b], logits[b])
        else:
            leaf = new
            _expand_(tree, links[b], edges[b], logits[b], rows[b], slot, answer[4], k * answer[5])
            closed = discount == 0
            if exists.shape[0] > 0:
                closed |= not _leave_out_(logits[b, new], exists[b if exists_by_row else k])
            node = tree[new]
            node.closed, node.discount, node.to_play = closed, discount, seat
            node.raw_value = value[k * answer[3] + seat]
            node.chance = chance[k] if chance.shape[0] > 0 else False
            for p in range(num_players):
                stat[new, VALUE, p] = 0
                stat[new, RAW, p] = value[k * answer[3] + p]
                stat[new, REWARD, p] = reward[k * answer[1] + p]
        _backup_(leaf, tree, links[b], stat, rows[b], returns)
    return -1


@compiled
def grow_(nodes, links, stats, edges, logits, rows, rules, noise, considered, waves, exists, model, context, scratch,
          first, batch, embedding, width, space):  # fmt: skip
    """All simulations of rows first, first + 1, ... of a search over a native model (`native.py`); returns (-1, 0), or
    (row, simulation) of a mover that is no seat.

    noise, considered: of Gumbel; with considered [0, 0] the policy is PUCT. exists: [B, A], or [0, 0]: all. model,
    context, scratch: addresses. embedding: address of the store [N, batch, width] float32. space: buffers of the
    caller's, for K evaluations (numba would free its own once only their addresses are in use): slots [K] SLOT; action,
    row, source, target [K] int64; handed [K, width], made [K, width] (waves) or [0]; reward, value [K, P], logits
    [K, A], discount [K] float32; to_play [K], answer [6] int64.
    """
    num_rows, num_nodes, num_actions, num_players = nodes.shape[0], nodes.shape[1], logits.shape[2], stats.shape[3]
    gumbel = considered.shape[0] > 0
    slots, action, row, source, target, handed, made, reward, value, prior_logits, discount, to_play, answer = space
    answer[1], answer[2], answer[3] = reward.ctypes.data, value.ctypes.data, prior_logits.ctypes.data
    answer[4], answer[5] = discount.ctypes.data, to_play.ctypes.data
    layout = (answer[1], num_players, answer[2], num_players, answer[3], num_actions, answer[4], 1, answer[5], 1)
    chance = np.empty(0, np.bool_)
    weights = np.empty(num_nodes + 2, np.float32)
    puct_weights_(rules, weights)
    done = 0
    while done < num_rows * (num_nodes - 1):
        if gumbel:
            count = descend_gumbel_(nodes, links, stats, edges, logits, rows, rules, noise, considered, waves, slots)
        else:
            descend_puct_(nodes, links, stats, edges, logits, rows, rules, weights, slots)
            count = num_rows
        address_(slots, count, first, batch, action, row, source, target)
        for k in range(count):
            _copy_(handed.ctypes.data + k * width * 4, embedding + source[k] * width * 4, width)
        answer[0] = made.ctypes.data if waves else embedding + target[0] * width * 4
        call_model(model, context, scratch, count, handed.ctypes.data, action.ctypes.data, row.ctypes.data,
                   answer.ctypes.data)  # fmt: skip
        if waves:
            for k in range(count):
                _copy_(embedding + target[k] * width * 4, made.ctypes.data + k * width * 4, width)
        bad = expand_and_backup_(nodes, links, stats, edges, logits, rows, slots[:count], layout, exists, True, chance)
        if bad >= 0:
            return slots[bad].row + first, slots[bad].new
        done += count
    return -1, 0


@compiled
def start_(nodes, stats, edges, logits, rows, root_logits, value, to_play, unit):
    """Node 0 of all rows."""
    for b in range(nodes.shape[0]):
        _clear_(0, nodes[b], stats[b], edges[b], logits[b])
        logits[b, 0] = root_logits[b]
        stats[b, 0, VALUE] = value[b]
        stats[b, 0, RAW] = value[b]
        node, row = nodes[b, 0], rows[b]
        node.to_play, node.visits, node.closed, node.chance = to_play[b], 1, 0, 0
        row.low = row.high = value[b, to_play[b]]
        node.raw_value = node.value = value[b, to_play[b]]
        row.unit, row.simulation, row.links = unit[b], 0, 0


@compiled
def _read_root_(nodes, links, stats, edges, logits, visits, q_values, mixed):
    """Fills one row of visits [A], the mover's completed Q [A], and the mixed value of each player [P]."""
    root = nodes[0]
    for p in range(mixed.shape[0]):
        mass, weighted = np.float32(0), np.float32(0)
        for c in range(root.first, root.first + root.children):
            prior, child = max(links[c].prior, _TINY), links[c].child
            mass += prior
            weighted += prior * (stats[child, REWARD, p] + nodes[child].discount * stats[child, VALUE, p])
        num_visits = np.float32(root.visits - 1)
        mixed[p] = (stats[0, RAW, p] + num_visits * (weighted / max(mass, _TINY))) / (num_visits + np.float32(1))
    for a in range(visits.shape[0]):
        child = edges[0, a]
        visits[a] = nodes[child].visits if child >= 0 else 0
        if logits[0, a] > _MASKED:
            q_values[a] = links[nodes[child].place].q if child >= 0 else mixed[nodes[0].to_play]
        else:
            q_values[a] = 0


@compiled
def decide_puct_(nodes, links, stats, edges, logits, visits, q_values, target):
    """Fills visits, q_values and target, [B, A]."""
    mixed = np.empty(stats.shape[3], np.float32)
    for b in range(visits.shape[0]):
        _read_root_(nodes[b], links[b], stats[b], edges[b], logits[b], visits[b], q_values[b], mixed)
        for a in range(visits.shape[1]):
            target[b, a] = visits[b, a] / np.float32(nodes[b, 0].visits - 1)


@compiled
def _improve_(logits, visits, q_values, mixed, factor, target):
    """target [A] = softmax(logits + sigma(completed q)) over the allowed actions; returns the unvisited's share."""
    top, unvisited = -_INFINITY, np.float32(0)
    for a in range(target.shape[0]):
        target[a] = logits[a] + factor * (q_values[a] - mixed) if visits[a] > 0 else logits[a]
        top = max(top, target[a])
    for a in range(target.shape[0]):
        target[a] = fastmath.exp(target[a] - top) if logits[a] > _MASKED else np.float32(0)
    total = fastmath.total(target, target.shape[0])
    for a in range(target.shape[0]):
        target[a] /= total
        if visits[a] == 0:
            unvisited += target[a]
    return unvisited


@compiled
def decide_gumbel_(
    nodes, links, stats, edges, logits, rows, rules, noise, action, target, root_value, visits, q_values
):
    """Fills action [B], target, visits, q_values [B, A] and root_value [B, P]."""
    num_players, rule = root_value.shape[1], rules[0]
    mixed_all = np.empty(num_players, np.float32)
    for b in range(action.shape[0]):
        tree, row = nodes[b], rows[b]
        if tree[0].candidate < NONE:
            _find_candidate_(0, tree, edges[b], logits[b], noise[b], True)
        _read_root_(tree, links[b], stats[b], edges[b], logits[b], visits[b], q_values[b], mixed_all)
        most = 0
        for a in range(visits.shape[1]):
            most = max(most, visits[b, a])
        best = _gumbel_at_root(most, tree[0], links[b], logits[b], noise[b], row, rule)
        action[b] = links[b, max(best, tree[0].first)].action
        mixed, factor, _ = _gumbel_statistics(tree[0], links[b], row, rule)
        unvisited = _improve_(logits[b, 0], visits[b], q_values[b], mixed, factor, target[b])
        for p in range(num_players):
            root_value[b, p] = unvisited * mixed_all[p]
        for c in range(tree[0].first, tree[0].first + tree[0].children):
            child = links[b, c].child
            share = target[b, tree[child].action]
            for p in range(num_players):
                below = tree[child].discount * stats[b, child, VALUE, p]
                root_value[b, p] += share * (stats[b, child, REWARD, p] + below)
