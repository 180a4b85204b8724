/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A work queue: threads of one program share the jobs of a queue. A job that fails is
 * given back and tried again by whoever is free; one that fails too often ends in the
 * dead-letter queue.
 *
 *     work_queue DIR
 */
#include <mom/mom.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TIMEOUT_MS = 10000, WORKERS = 4, JOBS = 200, TRIES = 3 };

struct office {
    mom_node *node;
    mom_consumer *jobs;
    pthread_mutex_t mutex;
    int done, failed, hopeless;
};

static void check(const char *what, int error) {
    if (error != MOM_OK) {
        fprintf(stderr, "%s: %s (%s)\n", what, mom_strerror(error),
                mom_last_error_text());
        exit(-error);
    }
}

/* Every tenth job is too hard; every third needs a second look. */
static mom_handled do_job(mom_message *message, void *user) {
    struct office *office = user;
    size_t size;
    int job;
    const void *body = mom_message_body(message, &size);
    if (size != sizeof job) {
        return MOM_HANDLED_REJECT;
    }
    memcpy(&job, body, sizeof job);
    bool is_hopeless = job % 10 == 0;
    bool fails = is_hopeless || (job % 3 == 0 && !mom_message_redelivered(message));
    bool is_last_try = mom_message_deliveries(message) == TRIES;
    pthread_mutex_lock(&office->mutex);
    office->failed += fails ? 1 : 0;
    office->done += fails ? 0 : 1;
    office->hopeless += fails && is_last_try ? 1 : 0;
    bool is_over = office->done + office->hopeless == JOBS;
    pthread_mutex_unlock(&office->mutex);
    if (is_over) {
        mom_consumer_stop(office->jobs);
    }
    return fails ? MOM_HANDLED_NACK : MOM_HANDLED_ACK;
}

static void *work(void *user) {
    struct office *office = user;
    check("work", mom_consumer_run(office->jobs, do_job, office));
    return NULL;
}

int main(int argc, char **argv) {
    static struct office office = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    if (argc != 2) {
        fprintf(stderr, "usage: %s DIR\n", argv[0]);
        return 2;
    }
    mom_options options;
    mom_options_init(&options);
    options.data_dir = argv[1];
    check("open", mom_open(&options, &office.node));
    mom_stream_options queue;
    mom_stream_options_init(&queue);
    queue.if_missing = true;
    queue.deliveries_max = TRIES;
    check("create", mom_queue_create(office.node, "jobs", &queue, TIMEOUT_MS));
    int jobs[JOBS];
    mom_slice bodies[JOBS];
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = i;
        bodies[i] = (mom_slice){&jobs[i], sizeof jobs[i]};
    }
    check("send",
          mom_send_many(office.node, "jobs", bodies, JOBS, NULL, NULL, TIMEOUT_MS));
    check("consumer",
          mom_queue_consumer(office.node, "jobs", NULL, TIMEOUT_MS, &office.jobs));
    pthread_t workers[WORKERS];
    for (int i = 0; i < WORKERS; i++) {
        if (pthread_create(&workers[i], NULL, work, &office) != 0) {
            return 1;
        }
    }
    for (int i = 0; i < WORKERS; i++) {
        pthread_join(workers[i], NULL);
    }
    check("flush", mom_consumer_flush(office.jobs, TIMEOUT_MS));
    mom_stream_info dead;
    mom_stream_info_init(&dead);
    check("info", mom_queue_info(office.node, "$dead/queue/jobs", &dead, TIMEOUT_MS));
    printf("done %d, failed attempts %d, dead letters %llu\n", office.done, office.failed,
           (unsigned long long)dead.messages_ready);
    check("close", mom_consumer_close(office.jobs, TIMEOUT_MS));
    check("close", mom_close(office.node, TIMEOUT_MS));
    return office.done == JOBS - JOBS / 10 ? 0 : 1;
}
