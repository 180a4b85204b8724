/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deliberate protocol bugs, for the build that shows that the tests find them. In every
 * other build MUTANT(...) is the constant 0 and leaves no trace in the code.
 *
 * A new one: a row here, and `if (MUTANT(NAME))` right where it bites.
 */
#ifndef MOMI_CORE_MUTANT_H
#define MOMI_CORE_MUTANT_H

#define MOMI_MUTANT_MAP(X)                                                               \
    /* Replication (raft*.c, log.c). */                                                  \
    X(COMMIT_OLD_TERM, "commit counts copies of entries of older terms")                 \
    X(NO_NOOP, "a new leader serves without an entry of its own term")                   \
    X(VOTE_NOT_PERSISTED, "a restart forgets the vote: two in one term")                 \
    X(VOTE_BEFORE_SYNC, "a vote is answered before it is synced")                        \
    X(APPEND_BEFORE_SYNC, "an append is answered before it is synced")                   \
    X(COMMIT_PAST_MATCH, "a follower commits past its match with the leader")            \
    X(TRUNCATION_FORGETS_BATCHES, "truncation leaves batches in flight as they are")     \
    X(COMPLETION_WITHOUT_BATCH, "a completion vouches for the whole log")                \
    X(HEARTBEAT_WITHOUT_TERM, "heartbeat lines and replies count in any term")           \
    X(NO_LOG_CHECK, "votes for a candidate whose log is behind")                         \
    X(SINGLE_QUORUM_IN_JOINT, "a joint configuration asks only its new half")            \
    X(LEARNER_COUNTED, "a learner counts as a voter")                                    \
    X(NO_STEP_DOWN, "a leader ignores higher terms")                                     \
    X(NO_CHECK_QUORUM, "a leader without a quorum stays")                                \
    X(READ_WITHOUT_CONFIRMATION, "reads are not confirmed by a quorum")                  \
    X(CONFIG_AFTER_COMMIT, "a configuration acts only when committed")                   \
    X(CONFIG_NOT_ROLLED_BACK, "a truncated configuration stays in force")                \
    X(JOINT_LEFT_EARLY, "a joint configuration is left before it is committed")          \
    X(STAMP_FALLS, "a new leader's clock does not go on where the log's ends")           \
    X(FAILED_WRITE_IGNORED, "a failed write or sync counts as done")                     \
    /* Checkout (live.c, checkout*.c). */                                                \
    X(RELEASE_TOO_EARLY, "an entry is deleted while some of it lives, or is leased")     \
    X(LEASE_ENDS_IN_BUFFER, "a lease counts down before its hand-out")                   \
    X(TOKEN_NOT_GROWING, "a message gets the token of its last lease again")             \
    X(OLD_TOKEN_ACCEPTED, "settling does not look at epoch and consumer")                \
    X(GIVEN_BACK_TO_END, "a message given back returns behind all others")               \
    X(EXPIRY_NOT_COUNTED, "a lease that ran out is no delivery")                         \
    X(DEAD_LETTER_COPIED, "a dead letter stays in its queue as well")                    \
    X(PURGE_FORGETS_REFERENCES, "a purge leaves its entries alive")                      \
    X(CREDIT_IGNORED, "messages are assigned beyond the credit")                         \
    X(DETACH_FORGETS_LEASES, "a lost consumer takes its messages along")                 \
    X(LOSS_NOT_COUNTED, "what a lost consumer had in hands is no delivery")              \
    X(TURN_NOT_SAVED, "a checkpoint forgets whose turn it is")                           \
    /* Sessions and streams (machine.c, session.c, streams.c, publish.c). */             \
    X(GAP_ACCEPTED, "a number is proposed, and applied, after one that is missing")      \
    X(DUPLICATE_APPLIED, "a publish that is resent is proposed and applied again")       \
    X(REFUSAL_AFTER_RESEND, "a resent command is refused: that becomes its outcome")     \
    X(SESSION_BY_USE, "a session comes into being by its use")                           \
    X(RESULTS_NOT_SAVED, "a checkpoint leaves out the kept results")                     \
    X(ANSWERED_IGNORED, "results are kept though the client has them")                   \
    X(WALL_CLOCK_LEASES, "leases are timed by the wall clock")                           \
    X(COUNTER_NOT_SAVED, "a checkpoint leaves out the counter of tokens")                \
    X(DELETE_LEAVES_CONSUMERS, "consumers of a deleted stream are not told")             \
    X(PARTIAL_PUBLISH, "half of a publish gets into a full queue")                       \
    /* The client (client*.c). */                                                        \
    X(GIVEN_UP_DROPPED, "a number whose caller gave up is never sent again")             \
    X(RETRY_RENUMBERED, "a new leader gets the commands under new numbers")              \
    X(LOWER_TERM_DELIVERED, "a delivery of a lower term is accepted")                    \
    X(LATE_RESULT, "a late result completes the call that waits now")                    \
    X(TIMEOUT_IN_FLIGHT, "a command under way is said not to be done")                   \
    X(DELIVERY_GAP_ACCEPTED, "what is missing before a delivery is not asked for")       \
    /* The shard (shard_propose.c, shard_snapshot_receive.c). */                         \
    X(GAP_PROPOSED, "a leader proposes a number though one before it is missing")        \
    X(WALL_OF_LEADER, "entries carry the wall clock of the leader alone")                \
    X(STALE_ENTRY_KEPT, "an install keeps entries of the log that differ")               \
    X(INSTALL_OVER_LOG, "an install goes on though the log has passed it")               \
    X(DELETION_BEFORE_CHECKPOINT, "dead entries go before the checkpoint that says so")  \
    /* The mesh (mesh*.c, shard.c). */                                                   \
    X(REPLICA_ID_IGNORED, "frames from another node's replica are believed")             \
    X(TWO_FOUNDERS, "every founder founds a mesh")                                       \
    X(GENESIS_WITH_RECORD, "a node that had a replica begins it anew by its genesis")    \
    X(LEARNER_BELOW_TOMBSTONE, "a replica that was removed comes back as a learner")

enum momi_mutant_id {
    MOMI_MUTANT_NONE = 0,
#define MOMI_MUTANT_ENUM(name, what) MOMI_MUTANT_##name,
    MOMI_MUTANT_MAP(MOMI_MUTANT_ENUM)
#undef MOMI_MUTANT_ENUM
        MOMI_MUTANTS_END /* one more than the last */
};

#ifdef MOMI_MUTANTS
extern int momi_mutant; /* the one that is on; chosen before the first step */
#define MUTANT(name) (momi_mutant == MOMI_MUTANT_##name)
/* Of a number below MOMI_MUTANTS_END; static strings. */
const char *momi_mutant_name(int mutant);
const char *momi_mutant_what(int mutant);
#else
#define MUTANT(name) 0
#endif

#endif
