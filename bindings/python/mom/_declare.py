# SPDX-License-Identifier: Apache-2.0
"""What ctypes must know of libmom: its functions and the structs that it fills in.

Each function is one line: result, then arguments, a letter each.

    v nothing   i int and enums   b bool   u uint32_t   q uint64_t   z size_t
    t text that ends with a zero (bytes in Python)      p any other pointer

`tests/test_declarations.py` compares all of this with include/mom/*.h.
"""
from __future__ import annotations

import ctypes
from ctypes import (
    c_bool,
    c_char,
    c_char_p,
    c_int,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
)
from typing import Any, Dict, List

LETTERS: Dict[str, Any] = {
    "v": None,
    "i": c_int,
    "b": c_bool,
    "u": c_uint32,
    "q": c_uint64,
    "z": c_size_t,
    "t": c_char_p,
    "p": c_void_p,
}

FUNCTIONS: Dict[str, str] = {
    # error.h, version.h
    "mom_strerror": "ti",
    "mom_err_name": "ti",
    "mom_err_advice": "ti",
    "mom_last_error_text": "t",
    "mom_version": "t",
    # options.h
    "mom_options_new": "p",
    "mom_options_set": "iptt",
    "mom_options_set_log": "vppp",
    "mom_options_free": "vp",
    "mom_stream_options_new": "p",
    "mom_stream_options_set": "iptt",
    "mom_stream_options_free": "vp",
    "mom_subscription_options_new": "p",
    "mom_subscription_options_set": "iptt",
    "mom_subscription_options_free": "vp",
    "mom_send_options_new": "p",
    "mom_send_options_set": "iptt",
    "mom_send_options_add_header": "iptpz",
    "mom_send_options_free": "vp",
    "mom_consumer_options_new": "p",
    "mom_consumer_options_set": "iptt",
    "mom_consumer_options_free": "vp",
    # message.h
    "mom_message_header_at": "ipzp",
    "mom_message_view_many": "ipzpz",
    "mom_message_copy_many": "zpzpz",
    "mom_message_release_many": "vpz",
    "mom_message_stream": "tp",
    "mom_message_subscription": "tp",
    # info.h
    "mom_stream_info_init_size": "vpz",
    "mom_mesh_info_init_size": "vpz",
    "mom_node_info_init_size": "vpz",
    "mom_shard_info_init_size": "vpz",
    "mom_metrics_init_size": "vpz",
    "mom_metrics_name": "tz",
    "mom_metrics_help": "tz",
    "mom_metrics_value": "qpz",
    "mom_list_count": "zp",
    "mom_list_name": "tpz",
    "mom_list_is_own": "bpz",
    "mom_list_free": "vp",
    "mom_status_mesh": "ipp",
    "mom_status_nodes_count": "zp",
    "mom_status_node": "ipzp",
    "mom_status_shards_count": "zp",
    "mom_status_shard": "ipzp",
    "mom_status_free": "vp",
    # mom.h: nodes
    "mom_open": "ipp",
    "mom_close": "ipi",
    "mom_wait_ready_submit": "ipipp",
    "mom_node_id": "qp",
    "mom_node_name": "tp",
    "mom_node_address": "tp",
    "mom_node_is_durable": "bp",
    "mom_status_get": "ippi",
    "mom_metrics_get": "ipp",
    # mom.h: queues and topics
    "mom_queue_create_submit": "iptpipp",
    "mom_topic_create_submit": "iptpipp",
    "mom_queue_delete_submit": "iptipp",
    "mom_topic_delete_submit": "iptipp",
    "mom_queue_purge_submit": "iptipp",
    "mom_queue_info": "iptpi",
    "mom_topic_info": "iptpi",
    "mom_queue_list": "ippi",
    "mom_topic_list": "ippi",
    "mom_subscription_create_submit": "ipttpipp",
    "mom_subscription_delete_submit": "ipttipp",
    "mom_subscription_info": "ipttpi",
    "mom_subscription_list": "iptpi",
    # mom.h: sending
    "mom_send_submit": "iptpzpipp",
    "mom_publish_submit": "ipttpzpipp",
    "mom_send_many_submit": "iptpzpipp",
    "mom_publish_many_submit": "iptppzpipp",
    # mom.h: receiving
    "mom_queue_consumer": "iptpip",
    "mom_subscription_consumer": "ipttpip",
    "mom_consumer_close": "ipi",
    "mom_receive_many": "ippzpi",
    "mom_receive_ready": "ippzp",
    "mom_receive_submit": "ipipp",
    "mom_ack": "ip",
    "mom_nack": "ip",
    "mom_reject": "ip",
    "mom_extend": "ip",
    "mom_ack_many": "ipz",
    "mom_ack_submit": "ipipp",
    "mom_consumer_flush_submit": "ipipp",
    # mom.h: completions
    "mom_completions_open": "ipp",
    "mom_completions_close": "vp",
    "mom_completions_fd": "ip",
    "mom_completions_wait": "ippzpi",
}

_SUBMITTED = "the call goes through its _submit form, so that Ctrl-C ends it"
_VIEWED = "mom_message_view_many and _copy_many say it for many at a time"
_SET = "options are made by _new and _set"
UNUSED: Dict[str, str] = {
    "mom_wait_ready": _SUBMITTED,
    "mom_queue_create": _SUBMITTED,
    "mom_topic_create": _SUBMITTED,
    "mom_queue_delete": _SUBMITTED,
    "mom_topic_delete": _SUBMITTED,
    "mom_queue_purge": _SUBMITTED,
    "mom_subscription_create": _SUBMITTED,
    "mom_subscription_delete": _SUBMITTED,
    "mom_send": _SUBMITTED,
    "mom_publish": _SUBMITTED,
    "mom_send_many": _SUBMITTED,
    "mom_publish_many": _SUBMITTED,
    "mom_ack_wait": _SUBMITTED,
    "mom_consumer_flush": _SUBMITTED,
    "mom_receive": "mom_receive_ready and mom_receive_many take one as well",
    "mom_consumer_run": "Consumer.run is a loop in Python",
    "mom_consumer_stop": "Consumer.run is a loop in Python",
    "mom_message_release": "mom_message_release_many releases one as well",
    "mom_message_body": _VIEWED,
    "mom_message_key": _VIEWED,
    "mom_message_sequence": _VIEWED,
    "mom_message_published_us": _VIEWED,
    "mom_message_publisher": _VIEWED,
    "mom_message_deliveries": _VIEWED,
    "mom_message_redelivered": _VIEWED,
    "mom_message_headers_count": _VIEWED,
    "mom_message_header": "headers are read all at once into a mapping",
    "mom_options_init_size": _SET,
    "mom_stream_options_init_size": _SET,
    "mom_subscription_options_init_size": _SET,
    "mom_send_options_init_size": _SET,
    "mom_consumer_options_init_size": _SET,
    "mom_set_allocator": "memory of Python needs the interpreter's lock",
}

LOG_FN = ctypes.CFUNCTYPE(None, c_int, c_char_p, c_char_p, c_char_p, c_void_p)

REPLICAS_MAX = 9
MANY_MAX = 65536
FOREVER = -1


class Slice(ctypes.Structure):
    """mom_slice"""

    _fields_ = [("data", c_void_p), ("size", c_size_t)]


class Completion(ctypes.Structure):
    """mom_completion"""

    _fields_ = [
        ("user", c_void_p),
        ("error", c_int),
        ("synced_copies", c_uint32),
        ("sequence", c_uint64),
        ("count", c_uint64),
    ]


class HeaderView(ctypes.Structure):
    """mom_header_view"""

    _fields_ = [
        ("name", c_void_p),
        ("name_size", c_size_t),
        ("value", c_void_p),
        ("value_size", c_size_t),
    ]


class MessageView(ctypes.Structure):
    """mom_message_view: words of 64 bits, so that many are read as one array of
    them."""

    _fields_ = [
        ("body", c_void_p),
        ("body_size", c_size_t),
        ("key", c_void_p),
        ("key_size", c_size_t),
        ("sequence", c_uint64),
        ("published_us", c_uint64),
        ("publisher", c_uint64),
        ("deliveries", c_uint64),
        ("headers_count", c_uint64),
    ]


class StreamInfo(ctypes.Structure):
    """mom_stream_info"""

    _fields_ = [
        ("size", c_size_t),
        ("shard", c_uint32),
        ("replicas_count", c_uint32),
        ("leader", c_uint64),
        ("replicas", c_uint64 * REPLICAS_MAX),
        ("messages_ready", c_uint64),
        ("messages_leased", c_uint64),
        ("bytes", c_uint64),
        ("sequence_first", c_uint64),
        ("sequence_next", c_uint64),
        ("consumers", c_uint64),
        ("subscriptions", c_uint64),
        ("redelivered", c_uint64),
        ("dead_lettered", c_uint64),
        ("created_us", c_uint64),
        ("creator", c_uint64),
        ("lease_ms", c_uint64),
        ("messages_max", c_uint64),
        ("bytes_max", c_uint64),
        ("retention_ms", c_uint64),
        ("retention_bytes", c_uint64),
        ("retention_count", c_uint64),
        ("deliveries_max", c_uint32),
        ("no_dead_letter", c_bool),
        ("temporary", c_bool),
        ("ignore_own", c_bool),
        ("is_filling", c_bool),
        ("leader_name", c_char * 256),
    ]


class MeshInfo(ctypes.Structure):
    """mom_mesh_info"""

    _fields_ = [
        ("size", c_size_t),
        ("node", c_uint64),
        ("shards", c_uint32),
        ("copies", c_uint32),
        ("is_member", c_bool),
        ("is_ready", c_bool),
        ("is_durable", c_bool),
        ("mesh_id", c_char * 33),
    ]


class NodeInfo(ctypes.Structure):
    """mom_node_info"""

    _fields_ = [
        ("size", c_size_t),
        ("node", c_uint64),
        ("incarnation", c_uint64),
        ("role", c_int),
        ("is_up", c_bool),
        ("is_self", c_bool),
        ("leads", c_uint32),
        ("copies", c_uint32),
        ("name", c_char_p),
        ("address", c_char_p),
    ]


class ShardInfo(ctypes.Structure):
    """mom_shard_info"""

    _fields_ = [
        ("size", c_size_t),
        ("shard", c_uint32),
        ("replicas_count", c_uint32),
        ("leader", c_uint64),
        ("term", c_uint64),
        ("replicas", c_uint64 * REPLICAS_MAX),
        ("commit", c_uint64),
        ("applied", c_uint64),
        ("is_here", c_bool),
    ]


STRUCTS: Dict[str, Any] = {
    kind.__doc__.split(":")[0]: kind
    for kind in (
        Slice,
        Completion,
        HeaderView,
        MessageView,
        StreamInfo,
        MeshInfo,
        NodeInfo,
        ShardInfo,
    )
    if kind.__doc__ is not None
}


def declare(lib: ctypes.CDLL) -> List[str]:
    """Gives every function its types; the names of those that are missing."""
    missing: List[str] = []
    for name, letters in FUNCTIONS.items():
        try:
            function = getattr(lib, name)
        except AttributeError:
            missing.append(name)
            continue
        function.restype = LETTERS[letters[0]]
        function.argtypes = [LETTERS[letter] for letter in letters[1:]]
    return missing
