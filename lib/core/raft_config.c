/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Quorum arithmetic and the encoding of configurations. Pure functions of their
 * arguments.
 *
 * Encoded: u8 format, varint version, u8 joint, varint count, then for each replica in
 * rising order varint replica, varint node, u8 flags (1 votes, 2 voted).
 */
#include "core/raft_config.h"

#include "core/mutant.h"

enum { CONFIG_FORMAT = 1, FLAG_VOTES = 1, FLAG_VOTED = 2 };
enum momi_half { HALF_NEW, HALF_OLD };

static bool in_half(const struct momi_replica_at *at, enum momi_half half) {
    if (half == HALF_OLD) {
        return at->voted;
    }
    return at->votes || (MUTANT(LEARNER_COUNTED) && !at->voted);
}

/* How many voters a half has, whatever mutant is on. */
static uint32_t half_count(const struct momi_raft_config *config, enum momi_half half) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < config->count; i++) {
        if (half == HALF_NEW ? config->at[i].votes : config->at[i].voted) {
            count++;
        }
    }
    return count;
}

/* What every configuration fulfils, own ones and those of peers. */
static bool is_well_formed(const struct momi_raft_config *config) {
    if (config->count > 2 * MOMI_REPLICAS_MAX) {
        return false;
    }
    for (uint32_t i = 0; i < config->count; i++) {
        const struct momi_replica_at *at = &config->at[i];
        if (at->replica == 0 || at->node == 0 || (at->voted && !config->is_joint) ||
            (i > 0 && at->replica <= config->at[i - 1].replica)) {
            return false;
        }
        for (uint32_t j = 0; j < i; j++) {
            if (config->at[j].node == at->node) {
                return false;
            }
        }
    }
    uint32_t new_voters = half_count(config, HALF_NEW);
    uint32_t old_voters = half_count(config, HALF_OLD);
    if (new_voters > MOMI_REPLICAS_MAX || old_voters > MOMI_REPLICAS_MAX) {
        return false;
    }
    if (config->is_joint && old_voters == 0) {
        return false;
    }
    /* No replicas at all: nobody has told this learner yet. */
    return config->count == 0 ? !config->is_joint : new_voters > 0;
}

void momi_raft_config_encode(const struct momi_raft_config *config,
                             struct momi_bytes *out) {
    momi_put_u8(out, CONFIG_FORMAT);
    momi_put_varint(out, config->version);
    momi_put_u8(out, config->is_joint ? 1 : 0);
    momi_put_varint(out, config->count);
    for (uint32_t i = 0; i < config->count; i++) {
        const struct momi_replica_at *at = &config->at[i];
        momi_put_varint(out, at->replica);
        momi_put_varint(out, at->node);
        momi_put_u8(
            out, (uint8_t)((at->votes ? FLAG_VOTES : 0) | (at->voted ? FLAG_VOTED : 0)));
    }
}

bool momi_raft_config_decode(struct momi_slice bytes, struct momi_raft_config *config) {
    struct momi_reader in = momi_reader(bytes);
    struct momi_raft_config decoded = {.count = 0};
    uint8_t format = momi_get_u8(&in);
    decoded.version = momi_get_varint(&in);
    uint8_t joint = momi_get_u8(&in);
    uint64_t count = momi_get_varint(&in);
    if (in.failed || format != CONFIG_FORMAT || joint > 1 ||
        count > 2 * MOMI_REPLICAS_MAX) {
        return false;
    }
    decoded.is_joint = joint == 1;
    decoded.count = (uint32_t)count;
    for (uint32_t i = 0; i < decoded.count; i++) {
        struct momi_replica_at *at = &decoded.at[i];
        at->replica = momi_get_varint(&in);
        at->node = momi_get_varint(&in);
        uint8_t flags = momi_get_u8(&in);
        if ((flags & ~(FLAG_VOTES | FLAG_VOTED)) != 0) {
            return false;
        }
        at->votes = (flags & FLAG_VOTES) != 0;
        at->voted = (flags & FLAG_VOTED) != 0;
    }
    if (!momi_reader_done(&in) || !is_well_formed(&decoded)) {
        return false;
    }
    *config = decoded;
    return true;
}

const struct momi_replica_at *momi_raft_config_find(const struct momi_raft_config *config,
                                                    uint64_t replica) {
    for (uint32_t i = 0; i < config->count; i++) {
        if (config->at[i].replica == replica) {
            return &config->at[i];
        }
    }
    return NULL;
}

const struct momi_replica_at *momi_raft_config_on(const struct momi_raft_config *config,
                                                  uint64_t node) {
    for (uint32_t i = 0; i < config->count; i++) {
        if (config->at[i].node == node) {
            return &config->at[i];
        }
    }
    return NULL;
}

bool momi_raft_config_is_voter(const struct momi_raft_config *config, uint64_t replica) {
    const struct momi_replica_at *at = momi_raft_config_find(config, replica);
    return at != NULL && (at->votes || at->voted);
}

bool momi_raft_config_equal(const struct momi_raft_config *a,
                            const struct momi_raft_config *b) {
    if (a->version != b->version || a->is_joint != b->is_joint || a->count != b->count) {
        return false;
    }
    for (uint32_t i = 0; i < a->count; i++) {
        const struct momi_replica_at *left = &a->at[i];
        const struct momi_replica_at *right = &b->at[i];
        if (left->replica != right->replica || left->node != right->node ||
            left->votes != right->votes || left->voted != right->voted) {
            return false;
        }
    }
    return true;
}

static bool same_voters(const struct momi_raft_config *a,
                        const struct momi_raft_config *b) {
    for (uint32_t i = 0; i < a->count; i++) {
        const struct momi_replica_at *other = momi_raft_config_find(b, a->at[i].replica);
        if (a->at[i].votes &&
            (other == NULL || !other->votes || other->node != a->at[i].node)) {
            return false;
        }
    }
    return half_count(a, HALF_NEW) == half_count(b, HALF_NEW);
}

bool momi_raft_config_enter(const struct momi_raft_config *now,
                            const struct momi_raft_config *target,
                            struct momi_raft_config *proposal) {
    if (now->is_joint || target->is_joint) {
        return false;
    }
    if (same_voters(now, target)) {
        *proposal = *target;
        return is_well_formed(proposal);
    }
    struct momi_raft_config joint = {.version = target->version, .is_joint = true};
    uint32_t i = 0;
    uint32_t j = 0;
    /* Both lists are sorted by replica: merge them. Old learners that the target does not
     * name are dropped. */
    while (i < now->count || j < target->count) {
        bool take_old = j == target->count ||
                        (i < now->count && now->at[i].replica <= target->at[j].replica);
        bool take_new = i == now->count || (j < target->count &&
                                            target->at[j].replica <= now->at[i].replica);
        if (take_old && !take_new && !now->at[i].votes) {
            i++;
            continue;
        }
        if (joint.count == 2 * MOMI_REPLICAS_MAX) {
            return false;
        }
        struct momi_replica_at *at = &joint.at[joint.count++];
        if (take_new) {
            *at = target->at[j++];
        } else {
            *at = now->at[i];
            at->votes = false;
        }
        at->voted = false;
        if (take_old) {
            if (at->node != now->at[i].node) {
                return false;
            }
            at->voted = now->at[i++].votes;
        }
    }
    *proposal = joint;
    return is_well_formed(proposal);
}

void momi_raft_config_leave(const struct momi_raft_config *joint,
                            struct momi_raft_config *simple) {
    struct momi_raft_config left = {.version = joint->version};
    for (uint32_t i = 0; i < joint->count; i++) {
        if (joint->at[i].votes || !joint->at[i].voted) {
            left.at[left.count] = joint->at[i];
            left.at[left.count++].voted = false;
        }
    }
    *simple = left;
}

bool momi_raft_config_may_follow(const struct momi_raft_config *now,
                                 const struct momi_raft_config *next) {
    if (!is_well_formed(next) || next->count == 0) {
        return false;
    }
    if (now->is_joint) {
        struct momi_raft_config simple;
        momi_raft_config_leave(now, &simple);
        return momi_raft_config_equal(&simple, next);
    }
    if (next->version <= now->version) {
        return false;
    }
    if (!next->is_joint) {
        return same_voters(now, next);
    }
    for (uint32_t i = 0; i < next->count; i++) {
        const struct momi_replica_at *before =
            momi_raft_config_find(now, next->at[i].replica);
        bool voted = before != NULL && before->votes;
        if (next->at[i].voted != voted ||
            (before != NULL && before->node != next->at[i].node)) {
            return false;
        }
    }
    return half_count(next, HALF_OLD) == half_count(now, HALF_NEW);
}

/* The largest value that a majority of one half has reached; 0 without voters. */
static uint64_t half_quorum(const struct momi_raft_config *config, enum momi_half half,
                            uint64_t (*reached)(void *user, uint64_t replica),
                            void *user) {
    uint64_t sorted[2 * MOMI_REPLICAS_MAX]; /* falling */
    uint32_t count = 0;
    for (uint32_t i = 0; i < config->count; i++) {
        if (!in_half(&config->at[i], half)) {
            continue;
        }
        uint64_t value = reached(user, config->at[i].replica);
        uint32_t at = count++;
        while (at > 0 && sorted[at - 1] < value) {
            sorted[at] = sorted[at - 1];
            at--;
        }
        sorted[at] = value;
    }
    return count == 0 ? 0 : sorted[count / 2];
}

uint64_t momi_raft_config_quorum(const struct momi_raft_config *config,
                                 uint64_t (*reached)(void *user, uint64_t replica),
                                 void *user) {
    uint64_t quorum = half_quorum(config, HALF_NEW, reached, user);
    if (config->is_joint && !MUTANT(SINGLE_QUORUM_IN_JOINT)) {
        uint64_t old = half_quorum(config, HALF_OLD, reached, user);
        quorum = old < quorum ? old : quorum;
    }
    return quorum;
}

static int half_votes(const struct momi_raft_config *config, enum momi_half half,
                      int (*vote)(void *user, uint64_t replica), void *user) {
    uint32_t count = 0;
    uint32_t granted = 0;
    uint32_t refused = 0;
    for (uint32_t i = 0; i < config->count; i++) {
        if (!in_half(&config->at[i], half)) {
            continue;
        }
        int answer = vote(user, config->at[i].replica);
        count++;
        granted += answer > 0 ? 1 : 0;
        refused += answer < 0 ? 1 : 0;
    }
    if (granted > count / 2) {
        return 1;
    }
    return count - refused > count / 2 ? 0 : -1;
}

int momi_raft_config_votes(const struct momi_raft_config *config,
                           int (*vote)(void *user, uint64_t replica), void *user) {
    int result = half_votes(config, HALF_NEW, vote, user);
    if (config->is_joint && !MUTANT(SINGLE_QUORUM_IN_JOINT)) {
        int old = half_votes(config, HALF_OLD, vote, user);
        result = old < result ? old : result;
    }
    return result;
}
