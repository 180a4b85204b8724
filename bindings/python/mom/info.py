# SPDX-License-Identifier: Apache-2.0
"""What can be asked: queues, topics, subscriptions, nodes, shards, counters."""
from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any, Dict, Tuple

from . import _declare
from .errors import check

__all__ = ["NodeInfo", "ShardInfo", "Status", "StreamInfo"]


@dataclass(frozen=True)
class StreamInfo:
    """A queue, a topic or a subscription, as the leader of its shard sees it.

    Times are in seconds, sizes in bytes, nodes are named by their id.
    """

    messages_ready: int  #: waiting to be delivered; of a topic: kept as history
    messages_leased: int  #: delivered and not settled
    bytes: int  #: of those that are ready
    sequence_first: int  #: of the oldest message there; 0: none
    sequence_next: int  #: what the next message will get
    consumers: int  #: attached now
    subscriptions: int  #: of a topic
    redelivered: int  #: deliveries that were not the first, since creation
    dead_lettered: int  #: since creation
    created: float  #: seconds since 1970-01-01 UTC
    creator: int
    lease: float
    deliveries_max: int
    messages_max: int  #: 0: no limit, like the following
    bytes_max: int
    retention: float
    retention_bytes: int
    retention_count: int
    dead_letter: bool  #: what keeps failing goes to the dead-letter queue
    temporary: bool  #: of a subscription
    ignore_own: bool  #: of a subscription
    is_filling: bool  #: a subscription still collects what it starts with
    shard: int
    leader: int
    leader_name: str
    replicas: Tuple[int, ...]


@dataclass(frozen=True)
class NodeInfo:
    """One node of the mesh."""

    id: int
    name: str
    address: str  #: "" when it does not listen
    role: str  #: "store" or "client"
    is_up: bool  #: the asked node has a connection to it, or is it
    is_self: bool
    incarnation: int  #: how often its directory was opened
    leads: int  #: shards
    copies: int  #: of shards


@dataclass(frozen=True)
class ShardInfo:
    """One shard; 0 is the registry."""

    shard: int
    leader: int  #: 0: unknown here
    term: int
    replicas: Tuple[int, ...]
    commit: int  #: of the copy on the asked node
    applied: int
    is_here: bool  #: the asked node has a copy


@dataclass(frozen=True)
class Status:
    """The mesh as one node sees it at one moment."""

    node: int
    mesh_id: str  #: "" until it has joined
    is_member: bool
    is_ready: bool  #: it sees a leader for every shard
    is_durable: bool
    shards_count: int
    copies: int
    nodes: Tuple[NodeInfo, ...]
    shards: Tuple[ShardInfo, ...]


def read_stream(out: _declare.StreamInfo) -> StreamInfo:
    """From the struct of C."""
    return StreamInfo(
        messages_ready=out.messages_ready,
        messages_leased=out.messages_leased,
        bytes=out.bytes,
        sequence_first=out.sequence_first,
        sequence_next=out.sequence_next,
        consumers=out.consumers,
        subscriptions=out.subscriptions,
        redelivered=out.redelivered,
        dead_lettered=out.dead_lettered,
        created=out.created_us / 1e6,
        creator=out.creator,
        lease=out.lease_ms / 1e3,
        deliveries_max=out.deliveries_max,
        messages_max=out.messages_max,
        bytes_max=out.bytes_max,
        retention=out.retention_ms / 1e3,
        retention_bytes=out.retention_bytes,
        retention_count=out.retention_count,
        dead_letter=not out.no_dead_letter,
        temporary=out.temporary,
        ignore_own=out.ignore_own,
        is_filling=out.is_filling,
        shard=out.shard,
        leader=out.leader,
        leader_name=out.leader_name.decode("utf-8", "replace"),
        replicas=tuple(out.replicas[: out.replicas_count]),
    )


def read_status(lib: Any, status: Any) -> Status:
    """From the mom_status `status`, which stays the caller's."""
    mesh = _declare.MeshInfo()
    lib.mom_mesh_info_init_size(ctypes.byref(mesh), ctypes.sizeof(mesh))
    check(lib.mom_status_mesh(status, ctypes.byref(mesh)))
    nodes = []
    for at in range(lib.mom_status_nodes_count(status)):
        node = _declare.NodeInfo()
        lib.mom_node_info_init_size(ctypes.byref(node), ctypes.sizeof(node))
        check(lib.mom_status_node(status, at, ctypes.byref(node)))
        nodes.append(
            NodeInfo(
                id=node.node,
                name=node.name.decode("utf-8", "replace"),
                address=node.address.decode("utf-8", "replace"),
                role="store" if node.role == 1 else "client",
                is_up=node.is_up,
                is_self=node.is_self,
                incarnation=node.incarnation,
                leads=node.leads,
                copies=node.copies,
            )
        )
    shards = []
    for at in range(lib.mom_status_shards_count(status)):
        shard = _declare.ShardInfo()
        lib.mom_shard_info_init_size(ctypes.byref(shard), ctypes.sizeof(shard))
        check(lib.mom_status_shard(status, at, ctypes.byref(shard)))
        shards.append(
            ShardInfo(
                shard=shard.shard,
                leader=shard.leader,
                term=shard.term,
                replicas=tuple(shard.replicas[: shard.replicas_count]),
                commit=shard.commit,
                applied=shard.applied,
                is_here=shard.is_here,
            )
        )
    return Status(
        node=mesh.node,
        mesh_id=mesh.mesh_id.decode(),
        is_member=mesh.is_member,
        is_ready=mesh.is_ready,
        is_durable=mesh.is_durable,
        shards_count=mesh.shards,
        copies=mesh.copies,
        nodes=tuple(nodes),
        shards=tuple(shards),
    )


def metrics_names(lib: Any) -> Dict[str, str]:
    """All counters with what they mean, in the order of their numbers."""
    found: Dict[str, str] = {}
    at = 0
    while True:
        name = lib.mom_metrics_name(at)
        if name is None:
            return found
        found[name.decode()] = lib.mom_metrics_help(at).decode()
        at += 1


def read_metrics(lib: Any, node: int) -> Dict[str, int]:
    """The counters of a node by name; how large their struct is only the library
    knows."""
    names = metrics_names(lib)
    block = (ctypes.c_uint64 * (len(names) + 1))()
    lib.mom_metrics_init_size(block, ctypes.sizeof(block))
    check(lib.mom_metrics_get(node, block))
    return {name: lib.mom_metrics_value(block, at) for at, name in enumerate(names)}
