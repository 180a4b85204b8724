/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories as a workload leaves them: see damage.h. A mesh of three lives several
 * times in a process of its own: each life publishes, consumes a part, and is closed or
 * killed, so that the last directories hold tables, a log, checkpoints and, half of the
 * time, an unclean end.
 */
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mom/mom.h>

#include "base/assert.h"
#include "damage/damage.h"

enum {
    LIVES = 4,
    OLD_LIFE = 2, /* whose files are the older versions */
    PER_LIFE = 120,
    BODY_BYTES = 3000,
    WAIT_MS = 20000,
    TAKE_MS = 3000,
};

const char *const damage_names[DAMAGE_NODES] = {"one", "two", "three"};

void damage_path(char out[DAMAGE_PATH], const char *dir, const char *name) {
    int size = snprintf(out, DAMAGE_PATH, "%s/%s", dir, name);
    MOMI_ASSERT(size > 0);
    MOMI_ASSERT(size < DAMAGE_PATH);
}

static int remove_one(const char *path, const struct stat *status, int type,
                      struct FTW *at) {
    (void)status;
    (void)type;
    (void)at;
    return remove(path);
}

void damage_remove(const char *path) {
    (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* nftw has no argument for its function. */
static const char *copy_from;
static const char *copy_to;

static void copy_file(const char *from, const char *to) {
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    MOMI_ASSERT(in >= 0);
    MOMI_ASSERT(out >= 0);
    char bytes[65536];
    for (ssize_t size = read(in, bytes, sizeof bytes); size > 0;
         size = read(in, bytes, sizeof bytes)) {
        MOMI_ASSERT(write(out, bytes, (size_t)size) == size);
    }
    close(in);
    close(out);
}

static int copy_one(const char *path, const struct stat *status, int type,
                    struct FTW *at) {
    (void)at;
    char to[DAMAGE_PATH];
    (void)snprintf(to, sizeof to, "%.250s%.250s", copy_to, path + strlen(copy_from));
    if (type == FTW_D) {
        MOMI_ASSERT(mkdir(to, 0700) == 0);
    } else if (S_ISREG(status->st_mode)) {
        copy_file(path, to);
    }
    return 0;
}

void damage_copy(const char *source, const char *target) {
    copy_from = source;
    copy_to = target;
    MOMI_ASSERT(nftw(source, copy_one, 16, FTW_PHYS) == 0);
}

size_t damage_body(uint32_t number, char *body, size_t size) {
    struct momi_rng rng;
    momi_rng_seed(&rng, number);
    int head = snprintf(body, size, "%u:", (unsigned)number);
    size_t count = (size_t)momi_rng_between(&rng, 0, 9) == 0
                       ? (size_t)momi_rng_between(&rng, 1000, BODY_BYTES - 100)
                       : (size_t)momi_rng_between(&rng, 0, 300);
    MOMI_ASSERT((size_t)head + count <= size);
    for (size_t i = 0; i < count; i++) {
        body[(size_t)head + i] = (char)('a' + momi_rng_between(&rng, 0, 25));
    }
    return (size_t)head + count;
}

void damage_node_options(mom_options *options, struct damage_texts *texts,
                         const char *path, size_t index) {
    size_t size = 0;
    for (size_t i = 0; i < DAMAGE_NODES; i++) {
        size += (size_t)snprintf(texts->form + size, sizeof texts->form - size,
                                 "%s%s=ipc://%.400s/%s.sock", i == 0 ? "" : ",",
                                 damage_names[i], path, damage_names[i]);
    }
    (void)snprintf(texts->address, sizeof texts->address, "ipc://%.400s/%s.sock", path,
                   damage_names[index]);
    damage_path(texts->dir, path, damage_names[index]);
    mom_options_init(options);
    options->data_dir = texts->dir;
    options->name = damage_names[index];
    options->listen = texts->address;
    options->form = texts->form;
    options->shards = DAMAGE_SHARDS;
}

/* --- one life ----------------------------------------------------------------------- */

static bool check(int error, const char *what) {
    if (error != MOM_OK) {
        fprintf(stderr, "image: %s: %s: %s\n", what, mom_err_name(error),
                mom_last_error_text());
    }
    return error == MOM_OK;
}

static bool create(mom_node *node) {
    mom_stream_options stream;
    mom_stream_options_init(&stream);
    stream.if_missing = true;
    mom_subscription_options all;
    mom_subscription_options_init(&all);
    all.if_missing = true;
    return check(mom_queue_create(node, "work", &stream, WAIT_MS), "create") &&
           check(mom_queue_create(node, "{other}gone", &stream, WAIT_MS), "create") &&
           check(mom_topic_create(node, "news", &stream, WAIT_MS), "create") &&
           check(mom_subscription_create(node, "news", "all", &all, WAIT_MS),
                 "subscribe");
}

static bool produce(mom_node *node, struct damage_ledger *ledger) {
    char body[BODY_BYTES];
    for (uint32_t i = 0; i < PER_LIFE; i++) {
        uint32_t number = ledger->count++;
        size_t size = damage_body(number, body, sizeof body);
        if (!check(mom_send(node, "work", body, size, NULL, WAIT_MS), "send") ||
            !check(mom_publish(node, "news", "key", body, size, NULL, WAIT_MS),
                   "publish")) {
            return false;
        }
        ledger->queue[number] = MESSAGE_SENT;
        ledger->topic[number] = MESSAGE_SENT;
    }
    return true;
}

/* Takes about `count` messages, and acknowledges four of five. */
static bool consume(mom_consumer *consumer, uint8_t *messages, uint32_t count,
                    struct momi_rng *rng) {
    for (uint32_t i = 0; i < count; i++) {
        mom_message *message = NULL;
        int error = mom_receive(consumer, &message, TAKE_MS);
        if (error == MOM_EMPTY || error == MOM_TIMEOUT) {
            break;
        }
        if (!check(error, "receive")) {
            return false;
        }
        size_t size = 0;
        const char *body = mom_message_body(message, &size);
        unsigned long number = strtoul(body, NULL, 10);
        if (momi_rng_between(rng, 0, 4) == 0) {
            error = mom_nack(message);
        } else {
            error = mom_ack_wait(message, WAIT_MS);
            messages[number] = error == MOM_OK ? MESSAGE_CONSUMED : MESSAGE_UNKNOWN;
        }
        mom_message_release(message);
        if (!check(error, "settle")) {
            return false;
        }
    }
    return check(mom_consumer_close(consumer, WAIT_MS), "close of a consumer");
}

static bool work(mom_node *node, struct damage_ledger *ledger, struct momi_rng *rng) {
    mom_consumer *consumer = NULL;
    mom_consumer_options few;
    mom_consumer_options_init(&few);
    few.prefetch = 4;
    uint32_t part = (uint32_t)momi_rng_between(rng, PER_LIFE / 3, PER_LIFE);
    return create(node) && produce(node, ledger) &&
           check(mom_queue_consumer(node, "work", &few, WAIT_MS, &consumer),
                 "consumer") &&
           consume(consumer, ledger->queue, part, rng) &&
           check(mom_subscription_consumer(node, "news", "all", &few, WAIT_MS, &consumer),
                 "consumer") &&
           consume(consumer, ledger->topic, part / 2, rng) &&
           check(mom_queue_delete(node, "{other}gone", WAIT_MS), "delete");
}

static bool live(const char *path, struct damage_ledger *ledger, struct momi_rng *rng,
                 bool is_closed) {
    mom_node *nodes[DAMAGE_NODES] = {NULL};
    struct damage_texts texts[DAMAGE_NODES];
    bool ok = true;
    for (size_t i = 0; ok && i < DAMAGE_NODES; i++) {
        mom_options options;
        damage_node_options(&options, &texts[i], path, i);
        ok = check(mom_open(&options, &nodes[i]), "open");
    }
    for (size_t i = 0; ok && i < DAMAGE_NODES; i++) {
        ok = check(mom_wait_ready(nodes[i], WAIT_MS), "ready");
    }
    size_t at = (size_t)momi_rng_between(rng, 0, DAMAGE_NODES - 1);
    ok = ok && work(nodes[at], ledger, rng);
    for (size_t i = 0; ok && is_closed && i < DAMAGE_NODES; i++) {
        ok = check(mom_close(nodes[i], WAIT_MS), "close");
    }
    return ok;
}

/* --- all lives ---------------------------------------------------------------------- */

static bool write_ledger(const char *path, const struct damage_ledger *ledger) {
    char name[DAMAGE_PATH];
    damage_path(name, path, "ledger");
    FILE *file = fopen(name, "w");
    bool ok = file != NULL && fwrite(ledger, sizeof *ledger, 1, file) == 1;
    return file != NULL && fclose(file) == 0 && ok;
}

static bool read_ledger(const char *path, struct damage_ledger *ledger) {
    char name[DAMAGE_PATH];
    damage_path(name, path, "ledger");
    FILE *file = fopen(name, "r");
    bool ok = file != NULL && fread(ledger, sizeof *ledger, 1, file) == 1;
    if (file != NULL) {
        (void)fclose(file);
    }
    return ok;
}

static void keep_old(const char *path) {
    char old[DAMAGE_PATH];
    damage_path(old, path, "old");
    (void)mkdir(old, 0700);
    for (size_t i = 0; i < DAMAGE_NODES; i++) {
        char from[DAMAGE_PATH];
        char to[DAMAGE_PATH];
        damage_path(from, path, damage_names[i]);
        damage_path(to, old, damage_names[i]);
        damage_copy(from, to);
    }
}

bool damage_image_make(const char *path, uint64_t seed, struct damage_ledger *ledger) {
    memset(ledger, 0, sizeof *ledger);
    (void)mkdir(path, 0700);
    bool ok = write_ledger(path, ledger);
    for (uint32_t life = 0; ok && life < LIVES; life++) {
        pid_t child = fork();
        if (child == 0) {
            struct momi_rng rng;
            momi_rng_seed(&rng, seed * LIVES + life);
            (void)alarm(120);
            bool is_closed = momi_rng_between(&rng, 0, 1) == 0;
            ok = read_ledger(path, ledger) && live(path, ledger, &rng, is_closed) &&
                 write_ledger(path, ledger);
            _exit(ok ? 0 : 1); /* killed, as far as the files know, unless closed */
        }
        int status = 1;
        ok = child > 0 && waitpid(child, &status, 0) == child && status == 0;
        if (ok && life + 1 == OLD_LIFE) {
            keep_old(path);
        }
    }
    return ok && read_ledger(path, ledger);
}
