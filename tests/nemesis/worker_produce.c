/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The role `produce`: one publisher. Its messages are numbered; a body begins with the
 * publisher and the number, and goes on with bytes of any length.
 *
 * Modes: `submit` keeps a window of messages in flight, with deadlines of all kinds;
 * `send` sends one after the other; `many` sends batches.
 */
#include "worker.h"

#include <stdio.h>
#include <string.h>

enum {
    WINDOW = 32,
    BATCH_MAX = 16,
    BODY_BYTES_MAX = 20000,
    SHORT_BYTES_MAX = 400,
    LONG_EVERY = 200,
    LAG_NS_MAX = 1000000000,
    FINISH_MS = 60000, /* everything is well again when it is told to stop */
};

struct letter {
    uint64_t op;
    bool is_flying;
    const char *key;
    size_t size;
    char body[BODY_BYTES_MAX];
};

/* Filters of the run's subscriptions tell some of them from others. */
static const char *const topic_keys[] = {"even.a", "odd.a", "odd.b.c", "plain"};
enum { TOPIC_KEYS = sizeof topic_keys / sizeof *topic_keys };

static uint32_t letters_count;

/* Makes the next message and writes down that it is about to be sent. */
static void write_letter(struct worker *worker, struct letter *letter) {
    uint32_t number = letters_count++;
    int head = snprintf(letter->body, sizeof letter->body, "%u %u ", worker->process,
                        (unsigned)number);
    uint64_t size_max = draw(worker, LONG_EVERY) == 0 ? BODY_BYTES_MAX : SHORT_BYTES_MAX;
    letter->size = (size_t)head + (size_t)draw(worker, size_max - (uint64_t)head);
    for (size_t i = (size_t)head; i < letter->size; i++) {
        letter->body[i] = (char)('a' + (i + number) % 26);
    }
    letter->key = worker->is_topic ? topic_keys[draw(worker, TOPIC_KEYS)] : "";
    struct check_record record = about(worker, CHECK_PUBLISH);
    record.subscription = 0;
    record.publisher = worker->process;
    record.message = number;
    record.key = name_of(worker, letter->key);
    record.digest =
        digest_of(letter->key, strlen(letter->key), letter->body, letter->size);
    letter->op = log_call(worker, record);
}

static int deadline_ms(struct worker *worker) {
    static const int some[] = {MOM_FOREVER, MOM_FOREVER, 20000, 5000, 1000, 300};
    return some[draw(worker, sizeof some / sizeof *some)];
}

/* When the next message is due; a producer that was held up does not make up for it. */
static uint64_t next_due_ns(const struct worker *worker, uint64_t due_ns) {
    uint64_t now = now_ns();
    due_ns += UINT64_C(1000000000) / worker->rate;
    return now > due_ns + LAG_NS_MAX ? now : due_ns;
}

static int wait_until_ms(uint64_t due_ns) {
    uint64_t now = now_ns();
    uint64_t ms = due_ns <= now ? 0 : (due_ns - now + 999999) / 1000000;
    return ms < LOOK_MS ? (int)ms : LOOK_MS;
}

/* --- submit ---------------------------------------------------------------------------
 */

static struct letter letters[WINDOW];
static size_t flying_count;

static int collect(struct worker *worker, mom_completions *completions, int timeout_ms) {
    mom_completion list[WINDOW];
    size_t count = 0;
    int error = mom_completions_wait(completions, list, WINDOW, &count, timeout_ms);
    for (size_t i = 0; i < count; i++) {
        struct letter *letter = list[i].user;
        log_done(worker, CHECK_PUBLISH, letter->op, list[i].error, list[i].sequence);
        letter->is_flying = false;
        flying_count--;
    }
    return error == MOM_TIMEOUT || error == MOM_EMPTY ? MOM_OK : error;
}

static void submit(struct worker *worker, mom_completions *completions) {
    struct letter *letter = letters;
    while (letter->is_flying) {
        letter++;
    }
    write_letter(worker, letter);
    int timeout_ms = deadline_ms(worker);
    int error =
        worker->is_topic
            ? mom_publish_submit(worker->node, worker->stream, letter->key, letter->body,
                                 letter->size, NULL, timeout_ms, completions, letter)
            : mom_send_submit(worker->node, worker->stream, letter->body, letter->size,
                              NULL, timeout_ms, completions, letter);
    if (error != MOM_OK) {
        log_done(worker, CHECK_PUBLISH, letter->op, error, 0);
        return;
    }
    letter->is_flying = true;
    flying_count++;
}

static int produce_submit(struct worker *worker) {
    mom_completions *completions = NULL;
    if (mom_completions_open(worker->node, &completions) != MOM_OK) {
        return 1;
    }
    int error = MOM_OK;
    uint64_t due_ns = now_ns();
    while (!stopping() && error == MOM_OK) {
        bool is_full = flying_count == WINDOW;
        error = collect(worker, completions, is_full ? LOOK_MS : wait_until_ms(due_ns));
        if (flying_count < WINDOW && now_ns() >= due_ns) {
            submit(worker, completions);
            due_ns = next_due_ns(worker, due_ns);
        }
    }
    uint64_t end_ns = now_ns() + FINISH_MS * UINT64_C(1000000);
    while (flying_count > 0 && error == MOM_OK && now_ns() < end_ns) {
        error = collect(worker, completions, LOOK_MS);
    }
    mom_completions_close(completions);
    if (flying_count > 0) {
        fprintf(stderr, "%zu messages have no outcome (%s)\n", flying_count,
                mom_err_name(error));
        return ROLE_HUNG;
    }
    return 0;
}

/* --- one after the other --------------------------------------------------------------
 */

static void send_one(struct worker *worker) {
    struct letter *letter = letters;
    write_letter(worker, letter);
    int timeout_ms = deadline_ms(worker);
    int error = worker->is_topic
                    ? mom_publish(worker->node, worker->stream, letter->key, letter->body,
                                  letter->size, NULL, timeout_ms)
                    : mom_send(worker->node, worker->stream, letter->body, letter->size,
                               NULL, timeout_ms);
    log_done(worker, CHECK_PUBLISH, letter->op, error, 0);
}

static void send_many(struct worker *worker) {
    size_t count = 1 + (size_t)draw(worker, BATCH_MAX);
    mom_slice bodies[BATCH_MAX];
    const char *keys[BATCH_MAX];
    int results[BATCH_MAX];
    for (size_t i = 0; i < count; i++) {
        write_letter(worker, &letters[i]);
        bodies[i] = (mom_slice){letters[i].body, letters[i].size};
        keys[i] = letters[i].key;
        results[i] = MOM_OK;
    }
    int timeout_ms = deadline_ms(worker);
    int error = worker->is_topic
                    ? mom_publish_many(worker->node, worker->stream, keys, bodies, count,
                                       NULL, results, timeout_ms)
                    : mom_send_many(worker->node, worker->stream, bodies, count, NULL,
                                    results, timeout_ms);
    bool is_told = false;
    for (size_t i = 0; i < count; i++) {
        is_told = is_told || results[i] == error;
    }
    for (size_t i = 0; i < count; i++) {
        /* Refused as a whole, before it came to single messages. */
        int result = is_told ? results[i] : error;
        log_done(worker, CHECK_PUBLISH, letters[i].op, result, 0);
    }
}

static int produce_blocking(struct worker *worker, bool is_many) {
    uint64_t due_ns = now_ns();
    while (!stopping()) {
        int wait_ms = wait_until_ms(due_ns);
        if (wait_ms > 0) {
            pause_ms(wait_ms);
            continue;
        }
        uint32_t before = letters_count;
        if (is_many) {
            send_many(worker);
        } else {
            send_one(worker);
        }
        for (uint32_t i = before; i < letters_count; i++) {
            due_ns = next_due_ns(worker, due_ns);
        }
    }
    return 0;
}

int role_produce(struct worker *worker) {
    return strcmp(worker->mode, "submit") == 0
               ? produce_submit(worker)
               : produce_blocking(worker, strcmp(worker->mode, "many") == 0);
}
