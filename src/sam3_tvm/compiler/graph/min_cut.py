"""The cheapest set of nodes through which every path of a directed graph runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

__all__ = ["min_vertex_cut"]

_Node = TypeVar("_Node", bound=Hashable)


def min_vertex_cut(
    costs: Mapping[_Node, int | None],
    edges: Mapping[_Node, Iterable[_Node]],
    sources: Iterable[_Node],
    sinks: Iterable[_Node],
) -> list[_Node] | None:
    """The nodes of least total cost that every path from a source to a sink goes through.

    A source or a sink may itself be among them. Of several such sets it is the one closest to
    the sinks. Found by augmenting shortest paths in a graph in which each node is an edge with
    the node's cost as capacity (Edmonds and Karp, Journal of the ACM 19, 1972).

    Args:
        costs: each node's, at least 1; None for a node that can't be cut.
        edges: each node's successors.
        sources, sinks: where paths begin and end.

    Returns:
        The cut in the order of ``costs``; None if some path has no node that can be cut.
    """
    index = {node: i for i, node in enumerate(costs)}
    # Node i is the edge from 2i to 2i + 1.
    source, sink = 2 * len(index), 2 * len(index) + 1
    endless = 1 + sum(cost for cost in costs.values() if cost is not None)
    residual: list[dict[int, int]] = [{} for _ in range(sink + 1)]

    def connect(tail: int, head: int, capacity: int) -> None:
        residual[tail][head] = capacity
        residual[head].setdefault(tail, 0)

    for node, cost in costs.items():
        connect(2 * index[node], 2 * index[node] + 1, endless if cost is None else cost)
        for successor in edges.get(node, ()):
            connect(2 * index[node] + 1, 2 * index[successor], endless)
    for node in sources:
        connect(source, 2 * index[node], endless)
    for node in sinks:
        connect(2 * index[node] + 1, sink, endless)

    flow = 0
    while path := _shortest_path(residual, source, sink):
        steps = [(path[i], path[i + 1]) for i in range(len(path) - 1)]
        amount = min(residual[tail][head] for tail, head in steps)
        for tail, head in steps:
            residual[tail][head] -= amount
            residual[head][tail] += amount
        flow += amount
        if flow >= endless:
            return None
    behind = _reaching(residual, sink)
    return [n for n, i in index.items() if 2 * i + 1 in behind and 2 * i not in behind]


def _shortest_path(
    residual: Sequence[Mapping[int, int]], source: int, sink: int
) -> list[int] | None:
    before = {source: source}
    queue = deque([source])
    while queue and sink not in before:
        tail = queue.popleft()
        for head, capacity in residual[tail].items():
            if capacity and head not in before:
                before[head] = tail
                queue.append(head)
    if sink not in before:
        return None
    path = [sink]
    while path[-1] != source:
        path.append(before[path[-1]])
    return path[::-1]


def _reaching(residual: Sequence[Mapping[int, int]], sink: int) -> set[int]:
    """The nodes from which capacity to the sink is left."""
    found = {sink}
    queue = deque([sink])
    while queue:
        head = queue.popleft()
        # Every edge has one the other way, so a node's neighbours are its predecessors too.
        for tail in residual[head]:
            if tail not in found and residual[tail][head]:
                found.add(tail)
                queue.append(tail)
    return found
