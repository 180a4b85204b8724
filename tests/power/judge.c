/* SPDX-License-Identifier: Apache-2.0 */
/* See judge.h. Everything below `run_child` happens in the child. */
#include "power/judge.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/pack.h"
#include "core/keys.h"
#include "port/datadir.h"
#include "port/store.h"
#include "power/judge_internal.h"

enum {
    FOUND_ROOM = 8192,
    CHILD_SECONDS_MAX = 150,
    RECEIVE_MAX = 256,
    LATE_MS = 15000, /* messages of a session that ended come back one by one */
};

/* What one opening found, in the order in which it came. */
struct found {
    uint64_t numbers[FOUND_ROOM];
    uint32_t streams[FOUND_ROOM];
    size_t count;
};

struct judge {
    char text[VERDICT_BYTES]; /* empty: nothing is wrong */
    struct found found[2];
    /* Of the child. */
    enum scene_shape shape;
    const char *root;
    const char *sockets;
    struct facts facts;
    size_t opening;
    mom_node *nodes[SCENE_NODES];
    size_t nodes_count;
};

struct judge *judge_new(void) {
    struct judge *judge = mmap(NULL, sizeof *judge, PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    MOMI_ASSERT(judge != MAP_FAILED);
    return judge;
}

void judge_free(struct judge *judge) { (void)munmap(judge, sizeof *judge); }

_Noreturn static void run_child(struct judge *judge, enum judge_how how);

static bool in_child(struct judge *judge, enum judge_how how) {
    pid_t child = fork();
    MOMI_ASSERT(child >= 0);
    if (child == 0) {
        (void)alarm(CHILD_SECONDS_MAX);
        run_child(judge, how);
    }
    int status = 0;
    MOMI_ASSERT(waitpid(child, &status, 0) == child);
    if (judge->text[0] == '\0' && status != 0) {
        (void)snprintf(judge->text, sizeof judge->text, "the opener ended with %s %d",
                       WIFSIGNALED(status) ? "signal" : "status",
                       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    }
    return judge->text[0] == '\0';
}

static void compare_openings(struct judge *judge) {
    const struct found *first = &judge->found[0];
    const struct found *second = &judge->found[1];
    bool is_same = first->count == second->count &&
                   memcmp(first->numbers, second->numbers,
                          first->count * sizeof *first->numbers) == 0 &&
                   memcmp(first->streams, second->streams,
                          first->count * sizeof *first->streams) == 0;
    if (!is_same) {
        (void)snprintf(judge->text, sizeof judge->text,
                       "the second opening found %zu messages, the first %zu, or others",
                       second->count, first->count);
    }
}

const char *judge_directory(struct judge *judge, enum scene_shape shape,
                            enum judge_how how, const char *root, const char *sockets,
                            const struct facts *facts) {
    judge->text[0] = '\0';
    judge->shape = shape;
    judge->root = root;
    judge->sockets = sockets;
    judge->facts = *facts;
    judge->opening = 0;
    judge->nodes_count = shape == SCENE_ALONE ? 1 : SCENE_NODES;
    judge->found[0].count = 0;
    judge->found[1].count = 0;
    bool is_well = in_child(judge, how);
    if (is_well && (how == JUDGE_TWICE || how == JUDGE_CLOSED)) {
        judge->opening = 1;
        judge->facts = *facts;
        is_well = in_child(judge, JUDGE_ONCE);
        if (is_well) {
            compare_openings(judge);
        }
    }
    return judge->text[0] == '\0' ? NULL : judge->text;
}

/* ---- In the child ---- */

void judge_wrong(struct judge *judge, const char *format, ...) {
    va_list list;
    va_start(list, format);
    (void)vsnprintf(judge->text, sizeof judge->text, format, list);
    va_end(list);
    _exit(1);
}

const char *judge_error_text(int error) {
    static char text[400];
    (void)snprintf(text, sizeof text, "%s: %s", mom_err_name(error),
                   mom_last_error_text());
    return text;
}

const struct facts *judge_facts(const struct judge *judge) { return &judge->facts; }

/* ---- Who the node is ---- */

static const struct facts_node *find_node(const struct judge *judge, uint64_t id) {
    for (size_t i = 0; i < FACTS_NODES_MAX; i++) {
        if (judge->facts.nodes[i].id == id) {
            return &judge->facts.nodes[i];
        }
    }
    return NULL;
}

static void check_ids(struct judge *judge, const uint64_t *ids) {
    for (size_t i = 0; i < FACTS_NODES_MAX; i++) {
        uint64_t id = judge->facts.nodes[i].id;
        bool is_there = id == 0;
        for (size_t j = 0; j < judge->nodes_count; j++) {
            is_there = is_there || ids[j] == id;
        }
        if (!is_there) {
            judge_wrong(judge, "node %016llx has another name now",
                        (unsigned long long)id);
        }
    }
}

static void check_terms(struct judge *judge, const struct facts_node *facts,
                        mom_status *status) {
    for (size_t i = 0; i < mom_status_shards_count(status); i++) {
        mom_shard_info info;
        mom_shard_info_init(&info);
        if (mom_status_shard(status, i, &info) != MOM_OK || !info.is_here ||
            info.shard >= FACTS_SHARDS_MAX) {
            continue;
        }
        uint64_t promised = facts->shards[info.shard].term;
        if (info.term < promised ||
            (judge->shape == SCENE_ALONE && info.term == promised && promised != 0)) {
            judge_wrong(judge, "shard %u has term %llu, but had %llu",
                        (unsigned)info.shard, (unsigned long long)info.term,
                        (unsigned long long)promised);
        }
    }
}

static void check_node(struct judge *judge, mom_node *node) {
    const struct facts_node *facts = find_node(judge, mom_node_id(node));
    mom_status *status;
    mom_mesh_info mesh;
    if (facts == NULL) {
        return; /* it had promised nothing yet */
    }
    int error = mom_status_get(node, &status, SCENE_WAIT_MS);
    if (error != MOM_OK) {
        judge_wrong(judge, "no status: %s", judge_error_text(error));
    }
    mom_mesh_info_init(&mesh);
    MOMI_ASSERT(mom_status_mesh(status, &mesh) == MOM_OK);
    if (facts->mesh != 0 && facts->mesh != scene_hash(mesh.mesh_id)) {
        judge_wrong(judge, "the node belongs to another mesh now");
    }
    if (scene_incarnation(node) <= facts->incarnation) {
        judge_wrong(judge, "incarnation %llu after %llu",
                    (unsigned long long)scene_incarnation(node),
                    (unsigned long long)facts->incarnation);
    }
    check_terms(judge, facts, status);
    mom_status_free(status);
}

/* ---- What is in the streams ---- */

static uint32_t *stream_flags(struct judge *judge, const char *name) {
    const char *dash = strrchr(name, '-');
    unsigned long stream = dash == NULL ? FACTS_STREAMS_MAX : strtoul(dash + 1, NULL, 10);
    if (stream >= FACTS_STREAMS_MAX) {
        judge_wrong(judge, "a stream %s that nobody created", name);
    }
    return &judge->facts.streams[stream];
}

static void check_list(struct judge *judge, int (*get)(mom_node *, mom_list **, int)) {
    mom_list *list;
    int error = get(judge->nodes[0], &list, SCENE_WAIT_MS);
    if (error != MOM_OK) {
        judge_wrong(judge, "no list: %s", judge_error_text(error));
    }
    for (size_t i = 0; i < mom_list_count(list); i++) {
        const char *name = mom_list_name(list, i);
        uint32_t *flags = stream_flags(judge, name);
        if ((*flags & FACT_TRIED) == 0) {
            judge_wrong(judge, "a stream %s that nobody created", name);
        }
        if ((*flags & FACT_ACKED) != 0) {
            judge_wrong(judge, "stream %s is back after it was deleted", name);
        }
        *flags |= FACT_SEEN;
    }
    mom_list_free(list);
}

static bool is_waited_for(const struct facts_message *message, uint32_t stream) {
    return message->flags != 0 && message->stream == stream &&
           (message->flags & FACT_DONE) != 0 &&
           (message->flags & (FACT_ACK_TRIED | FACT_SEEN)) == 0;
}

/* The first that is missing, or NULL. */
static const struct facts_message *find_missing(const struct judge *judge,
                                                uint32_t stream) {
    const struct facts_message *missing = NULL;
    for (size_t i = 0; i < FACTS_MESSAGES_ROOM; i++) {
        const struct facts_message *message = &judge->facts.messages[i];
        if (is_waited_for(message, stream) &&
            (missing == NULL || message->number < missing->number)) {
            missing = message;
        }
    }
    return missing;
}

static void take(struct judge *judge, uint32_t stream, const mom_message *message,
                 uint64_t *last) {
    struct found *found = &judge->found[judge->opening];
    uint32_t told;
    uint64_t number;
    size_t size;
    const void *body = mom_message_body(message, &size);
    if (!scene_body_read(body, size, &told, &number) || told != stream) {
        judge_wrong(judge, "stream %u: a body that nobody sent", (unsigned)stream);
    }
    struct facts_message *facts = facts_find(&judge->facts, stream, number);
    if (facts == NULL || (facts->flags & FACT_TRIED) == 0) {
        judge_wrong(judge, "stream %u: message %llu was never sent", (unsigned)stream,
                    (unsigned long long)number);
    }
    if ((facts->flags & FACT_ACKED) != 0) {
        judge_wrong(judge, "stream %u: message %llu was consumed and is back",
                    (unsigned)stream, (unsigned long long)number);
    }
    if ((facts->flags & FACT_SEEN) != 0) {
        judge_wrong(judge, "stream %u: message %llu is there twice", (unsigned)stream,
                    (unsigned long long)number);
    }
    facts->flags |= FACT_SEEN;
    /* Each publisher's life counts up in a range of its own. */
    uint64_t *before = &last[number / SCENE_RANGE % 64];
    if (*before / SCENE_RANGE == number / SCENE_RANGE && number < *before) {
        judge_wrong(judge, "stream %u: message %llu comes after %llu", (unsigned)stream,
                    (unsigned long long)number, (unsigned long long)*before);
    }
    *before = number;
    MOMI_ASSERT(found->count < FOUND_ROOM);
    found->streams[found->count] = stream;
    found->numbers[found->count++] = number;
}

/* Messages stay unsettled in the hands of this program: given back they would come again.
 */
static void check_stream(struct judge *judge, uint32_t stream) {
    static mom_message *messages[RECEIVE_MAX];
    uint64_t last[64] = {0};
    mom_consumer *consumer;
    int error =
        scene_consumer(judge->nodes[stream % judge->nodes_count], stream, &consumer);
    if (error == MOM_NOT_SUBSCRIBED && (judge->facts.streams[stream] & FACT_DONE) == 0) {
        return;
    }
    if (error != MOM_OK) {
        judge_wrong(judge, "stream %u: no consumer: %s", (unsigned)stream,
                    judge_error_text(error));
    }
    for (int timeout_ms = 0;;) {
        size_t count = 0;
        error = mom_receive_many(consumer, messages, RECEIVE_MAX, &count, timeout_ms);
        const struct facts_message *missing = NULL;
        if (error == MOM_OK) {
            for (size_t i = 0; i < count; i++) {
                take(judge, stream, messages[i], last);
            }
            continue;
        }
        missing = find_missing(judge, stream);
        if ((error != MOM_EMPTY && error != MOM_TIMEOUT) ||
            (missing != NULL && timeout_ms != 0)) {
            judge_wrong(judge, "stream %u: message %llu is missing (%s)",
                        (unsigned)stream,
                        (unsigned long long)(missing == NULL ? 0 : missing->number),
                        judge_error_text(error));
        }
        if (missing == NULL) {
            break;
        }
        timeout_ms = LATE_MS;
    }
}

static void check_streams(struct judge *judge) {
    check_list(judge, mom_queue_list);
    check_list(judge, mom_topic_list);
    for (uint32_t stream = 0; stream < FACTS_STREAMS_MAX; stream++) {
        uint32_t flags = judge->facts.streams[stream];
        bool must_be = (flags & FACT_DONE) != 0 && (flags & FACT_ACK_TRIED) == 0;
        if (must_be && (flags & FACT_SEEN) == 0) {
            judge_wrong(judge, "stream %u is gone", (unsigned)stream);
        }
        if ((flags & FACT_SEEN) != 0) {
            check_stream(judge, stream);
        }
    }
}

/* ---- What each store holds ---- */

/* The record under `letter`; NULL if there is none. */
static struct momi_buf *read_record(struct judge *judge, struct momi_store *store,
                                    uint8_t letter, uint32_t shard) {
    struct momi_key key = momi_key_node(letter, shard);
    struct momi_buf *value;
    int error = momi_store_get(store, MOMI_FAMILY_NODE, momi_key_slice(&key), &value);
    if (error == MOM_NOT_FOUND) {
        return NULL;
    }
    if (error != MOM_OK) {
        judge_wrong(judge, "shard %u: %c cannot be read: %s", (unsigned)shard, letter,
                    judge_error_text(error));
    }
    return value;
}

static void read_hard(struct judge *judge, struct momi_store *store, uint32_t shard,
                      struct momi_hard_state *hard) {
    struct momi_buf *value = read_record(judge, store, 'h', shard);
    if (value != NULL && !momi_hard_state_decode(momi_buf_slice(value), hard)) {
        judge_wrong(judge, "shard %u: the hard state is damaged", (unsigned)shard);
    }
    momi_buf_release(value);
}

/* The last index is the first number of its record. */
static uint64_t read_last(struct judge *judge, struct momi_store *store, uint32_t shard) {
    struct momi_buf *value = read_record(judge, store, 'l', shard);
    uint64_t last = value != NULL && value->size >= sizeof last
                        ? momi_load_le64(momi_buf_slice(value).data)
                        : 0;
    momi_buf_release(value);
    return last;
}

static void check_shard(struct judge *judge, const char *name, struct momi_store *store,
                        uint32_t shard, const struct facts_shard *facts) {
    struct momi_hard_state hard = {0};
    read_hard(judge, store, shard, &hard);
    uint64_t last = read_last(judge, store, shard);
    if (hard.term < facts->term) {
        judge_wrong(judge, "%s, shard %u: term %llu after %llu", name, (unsigned)shard,
                    (unsigned long long)hard.term, (unsigned long long)facts->term);
    }
    if (facts->vote != 0 && hard.term == facts->vote_term && hard.vote != facts->vote) {
        judge_wrong(judge, "%s, shard %u: voted for %llu in term %llu, now %llu", name,
                    (unsigned)shard, (unsigned long long)facts->vote,
                    (unsigned long long)hard.term, (unsigned long long)hard.vote);
    }
    if (hard.term == facts->match_term && last < facts->match) {
        judge_wrong(judge, "%s, shard %u: the log ends at %llu, told as synced was %llu",
                    name, (unsigned)shard, (unsigned long long)last,
                    (unsigned long long)facts->match);
    }
}

static uint64_t check_store(struct judge *judge, const char *name) {
    char path[SCENE_PATH_BYTES];
    struct momi_datadir *dir;
    struct momi_store *store;
    struct momi_store_report report;
    (void)snprintf(path, sizeof path, "%s/%s", judge->root, name);
    int error = momi_datadir_open(path, &dir);
    if (error != MOM_OK) {
        judge_wrong(judge, "%s does not open: %s", name, judge_error_text(error));
    }
    uint64_t id = scene_node_id(momi_datadir_identity(dir)->seed);
    error = momi_store_open_rocksdb(&store, path, NULL, &report);
    if (error != MOM_OK) {
        judge_wrong(judge, "the store of %s does not open: %s", name,
                    judge_error_text(error));
    }
    const struct facts_node *facts = find_node(judge, id);
    for (uint32_t shard = 0; facts != NULL && shard < FACTS_SHARDS_MAX; shard++) {
        check_shard(judge, name, store, shard, &facts->shards[shard]);
    }
    return id;
}

static void check_stores(struct judge *judge) {
    uint64_t ids[SCENE_NODES] = {0};
    for (size_t i = 0; i < judge->nodes_count; i++) {
        ids[i] = check_store(judge, scene_names[i]);
    }
    check_ids(judge, ids);
}

/* ---- All of it ---- */

static void open_nodes(struct judge *judge) {
    uint64_t ids[SCENE_NODES] = {0};
    for (size_t i = 0; i < judge->nodes_count; i++) {
        int error =
            scene_open(judge->shape, judge->root, judge->sockets, i, &judge->nodes[i]);
        if (error != MOM_OK) {
            judge_wrong(judge, "%s does not open: %s", scene_names[i],
                        judge_error_text(error));
        }
        ids[i] = mom_node_id(judge->nodes[i]);
    }
    check_ids(judge, ids);
    for (size_t i = 0; i < judge->nodes_count; i++) {
        int error = mom_wait_ready(judge->nodes[i], SCENE_WAIT_MS);
        if (error != MOM_OK) {
            judge_wrong(judge, "%s does not serve: %s", scene_names[i],
                        judge_error_text(error));
        }
    }
}

static void close_nodes(struct judge *judge) {
    for (size_t i = 0; i < judge->nodes_count; i++) {
        int error = mom_close(judge->nodes[i], SCENE_WAIT_MS);
        if (error != MOM_OK) {
            judge_wrong(judge, "%s does not close: %s", scene_names[i],
                        judge_error_text(error));
        }
    }
}

_Noreturn static void run_child(struct judge *judge, enum judge_how how) {
    if (judge->shape == SCENE_ASIDE) {
        aside_check(judge, judge->root);
        _exit(0);
    }
    if (how == JUDGE_STORES) {
        check_stores(judge);
        _exit(0);
    }
    open_nodes(judge);
    for (size_t i = 0; i < judge->nodes_count; i++) {
        check_node(judge, judge->nodes[i]);
    }
    check_streams(judge);
    if (how == JUDGE_CLOSED) {
        close_nodes(judge);
    }
    _exit(0);
}
