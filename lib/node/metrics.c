/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters of a node: the loop thread's own, copied now and then under the node's mutex,
 * so that asking for them never waits for the loop.
 */
#include "base/assert.h"
#include "node/node_internal.h"

#define PUBLISH_US (2 * MOMI_MS) /* not more often */

static uint64_t percentile_us(const struct momi_store_counters *counters,
                              uint64_t parts) {
    uint64_t all = 0;
    for (size_t i = 0; i < MOMI_STORE_SYNC_BUCKETS; i++) {
        all += counters->sync_us_log2[i];
    }
    uint64_t seen = 0;
    for (size_t i = 0; i < MOMI_STORE_SYNC_BUCKETS && all > 0; i++) {
        seen += counters->sync_us_log2[i];
        if (seen * 100 >= all * parts) {
            return (uint64_t)1 << i;
        }
    }
    return 0;
}

static void fill_core(const mom_node *node, mom_metrics *metrics) {
    const struct momi_core_counters *core = momi_core_counters(node->core);
    metrics->messages_published_count = core->messages_published;
    metrics->messages_delivered_count = core->messages_delivered;
    metrics->messages_settled_count = core->messages_settled;
    metrics->messages_redelivered_count = core->redeliveries;
    metrics->messages_dead_lettered_count = core->dead_letters;
    metrics->leases_expired_count = core->leases_expired;
    metrics->elections_count = core->elections;
    metrics->leader_changes_count = core->leader_changes;
    metrics->entries_appended_count = core->entries_appended;
    metrics->checkpoints_count = core->checkpoints;
    metrics->snapshots_sent_count = core->snapshots_sent;
    metrics->snapshots_installed_count = core->snapshots_installed;
    metrics->sessions_opened_count = core->sessions_opened;
    metrics->sessions_expired_count = core->sessions_expired;
    metrics->entries_repaired_count = core->entries_repaired;
    metrics->entries_lost_count = core->entries_lost;
    metrics->damages_count = core->damages_found;
    metrics->frames_dropped_count = core->frames_dropped + node->peers.frames_dropped;
}

static void fill_lanes(const mom_node *node, mom_metrics *metrics) {
    metrics->lanes_up = node->peers.up_count;
    metrics->lanes_refused_count = node->peers.refused;
    metrics->frames_in_count = node->peers.frames_in;
    metrics->frames_out_count = node->peers.frames_out;
    metrics->frames_invalid_count = node->peers.frames_invalid;
    if (node->peers.transport != NULL) {
        struct momi_transport_stats stats;
        momi_transport_stats(node->peers.transport, &stats);
        metrics->lane_in_bytes = stats.bytes_in;
        metrics->lane_out_bytes = stats.bytes_out;
    }
}

static void fill_gossip(mom_node *node, mom_metrics *metrics) {
    struct momi_discovery *discovery = &node->discovery;
    if (discovery->gossip == NULL) {
        return;
    }
    struct momi_gossip_stats stats;
    momi_gossip_stats(discovery->gossip, &stats);
    metrics->gossip_in_count = stats.datagrams_in + stats.questions_in + stats.answers_in;
    metrics->gossip_out_count = stats.datagrams_out + discovery->surveys_count;
    metrics->gossip_hints_count = discovery->hints_count;
    pthread_mutex_lock(&discovery->mutex);
    metrics->gossip_invalid_count = discovery->invalid + discovery->dropped;
    pthread_mutex_unlock(&discovery->mutex);
}

static void fill_store(const mom_node *node, mom_metrics *metrics) {
    struct momi_store_counters store;
    momi_store_counters_get(node->store, &store);
    metrics->writes_count = store.batches;
    metrics->write_bytes = store.bytes;
    metrics->syncs_count = store.syncs;
    metrics->sync_p50_us = percentile_us(&store, 50);
    metrics->sync_p99_us = percentile_us(&store, 99);
    metrics->store_free_bytes =
        atomic_load_explicit(&node->journal.space_free, memory_order_relaxed);
}

static void fill_calls(mom_node *node, mom_metrics *metrics) {
    pthread_mutex_lock(&node->mailbox.mutex);
    metrics->calls_count = node->calls.submitted;
    metrics->calls_pending = node->calls.pending;
    metrics->mailbox_full_count = node->calls.full;
    pthread_mutex_unlock(&node->mailbox.mutex);
    MOMI_LIST_FOR_EACH (link, &node->consumers_open) {
        mom_consumer *consumer = MOMI_CONTAINER_OF(link, mom_consumer, link);
        pthread_mutex_lock(&consumer->mutex);
        metrics->messages_buffered += consumer->buffered;
        pthread_mutex_unlock(&consumer->mutex);
    }
}

uint64_t momi_node_publish_due(const mom_node *node) {
    return node->turns == node->published_turns ? MOMI_NEVER
                                                : node->published_us + PUBLISH_US;
}

void momi_node_publish_metrics(mom_node *node) {
    if (node->now_us < node->published_us + PUBLISH_US) {
        return;
    }
    node->published_us = node->now_us;
    node->published_turns = node->turns;
    mom_metrics metrics = {.size = sizeof metrics};
    metrics.turns_count = node->turns;
    metrics.events_count = node->events;
    metrics.effects_count = node->effects_done;
    fill_core(node, &metrics);
    fill_lanes(node, &metrics);
    fill_gossip(node, &metrics);
    fill_store(node, &metrics);
    fill_calls(node, &metrics);
    pthread_mutex_lock(&node->mutex);
    node->published = metrics;
    pthread_mutex_unlock(&node->mutex);
}

void momi_node_metrics(mom_node *node, mom_metrics *metrics) {
    pthread_mutex_lock(&node->mutex);
    *metrics = node->published;
    pthread_mutex_unlock(&node->mutex);
}
