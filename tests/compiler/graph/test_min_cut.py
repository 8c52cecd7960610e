import itertools

import numpy as np
import pytest

from sam3_tvm.compiler.graph.min_cut import min_vertex_cut


def test_the_cheapest_node_of_a_chain_is_cut():
    costs = {"a": 5, "b": 2, "c": 3}
    assert min_vertex_cut(costs, {"a": ["b"], "b": ["c"]}, ["a"], ["c"]) == ["b"]


def test_of_equal_cuts_the_one_closest_to_the_sinks_is_taken():
    costs = {"a": 2, "b": 2, "c": 2}
    assert min_vertex_cut(costs, {"a": ["b"], "b": ["c"]}, ["a"], ["c"]) == ["c"]


def test_one_node_before_a_fork_costs_less_than_two_behind_it():
    costs = {"a": 3, "b": 2, "c": 2}
    assert min_vertex_cut(costs, {"a": ["b", "c"]}, ["a"], ["b", "c"]) == ["a"]
    assert min_vertex_cut({**costs, "a": 5}, {"a": ["b", "c"]}, ["a"], ["b", "c"]) == ["b", "c"]


def test_what_no_source_reaches_is_not_cut():
    costs = {"a": 1, "b": 1, "c": 1}
    assert min_vertex_cut(costs, {"a": ["c"], "b": ["c"]}, ["a"], ["b", "c"]) == ["c"]
    assert min_vertex_cut(costs, {}, [], ["a"]) == []


def test_a_path_of_nodes_that_cannot_be_cut_has_no_cut():
    costs = {"a": None, "b": None, "c": 1}
    assert min_vertex_cut(costs, {"a": ["b"], "b": ["c"]}, ["a"], ["b"]) is None
    assert min_vertex_cut(costs, {"a": ["b"], "b": ["c"]}, ["a"], ["c"]) == ["c"]


@pytest.mark.parametrize("seed", range(40))
def test_no_set_of_nodes_cuts_for_less(seed):
    rng = np.random.default_rng(seed)
    n = 7
    costs = {i: None if rng.random() < 0.2 else int(rng.integers(1, 6)) for i in range(n)}
    edges = {i: [j for j in range(i + 1, n) if rng.random() < 0.45] for i in range(n)}
    sources, sinks = [0, 1], [n - 2, n - 1]

    def separates(cut):
        reached, new = set(), set(sources) - set(cut)
        while new:
            reached |= new
            new = {j for i in new for j in edges[i]} - reached - set(cut)
        return not reached & set(sinks)

    nodes = [i for i in range(n) if costs[i] is not None]
    sets = itertools.chain.from_iterable(
        itertools.combinations(nodes, k) for k in range(len(nodes) + 1)
    )
    prices = [sum(costs[i] for i in cut) for cut in sets if separates(cut)]
    found = min_vertex_cut(costs, edges, sources, sinks)
    if not prices:
        assert found is None
    else:
        assert separates(found)
        assert sum(costs[i] for i in found) == min(prices)
