/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The node that a command works through: a client of the mesh behind --peer, or the
 * directory of --data opened by this process itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "output.h"

enum { TEXT_BYTES = 1200, SHOW_WAIT_MS = 1000 };

uint64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* --- signals --- */

static volatile sig_atomic_t signal_count;
static int signal_pipe[2] = {-1, -1};

static void on_signal(int number) {
    (void)number;
    int kept = errno;
    signal_count = 1;
    /* A full pipe is readable already. */
    ssize_t written = write(signal_pipe[1], "", 1);
    (void)written;
    errno = kept;
}

void signals_catch(void) {
    if (signal_pipe[0] < 0 && pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK) != 0) {
        return; /* signals end the program then, as they would without this */
    }
    /* The second one meets the default action: it ends a close that takes too long. */
    struct sigaction action = {.sa_handler = on_signal,
                               .sa_flags = (int)SA_RESETHAND | SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool signals_came(void) { return signal_count != 0; }
int signals_fd(void) { return signal_pipe[0]; }

/* --- the node --- */

/* False: it does not say. */
static bool mesh_info(mom_node *node, mom_mesh_info *info) {
    mom_status *status = NULL;
    mom_mesh_info_init(info);
    if (mom_status_get(node, &status, SLICE_MS) != 0) {
        return false;
    }
    bool is_there = mom_status_mesh(status, info) == 0;
    mom_status_free(status);
    return is_there;
}

static bool is_member(mom_node *node) {
    mom_mesh_info info;
    return mesh_info(node, &info) && info.is_member;
}

bool cli_is_durable(const struct cli *cli) {
    mom_mesh_info info;
    return mesh_info(cli->node, &info) && info.is_durable;
}

static int fail_unreached(const struct cli *cli, const char *detail) {
    char text[TEXT_BYTES];
    if (cli->data != NULL) {
        return fail_text(cli, MOM_UNAVAILABLE, detail,
                         "start the other nodes of its mesh, or allow more --timeout");
    }
    snprintf(text, sizeof text, "no node answers at %s", cli->peer);
    return fail_text(cli, MOM_UNAVAILABLE, text,
                     "start one with `mom node --data DIR`, name another with --peer or "
                     "MOM_PEER, or open a directory with --data DIR");
}

/* Waits until the node has met its mesh. That one shard has no leader just now does not
 * matter here: the call that needs it waits by itself. */
static int wait_member(struct cli *cli) {
    int limit_ms = cli->timeout_ms < PEER_TIMEOUT_MS ? cli->timeout_ms : PEER_TIMEOUT_MS;
    limit_ms = cli->data != NULL ? cli->timeout_ms : limit_ms;
    uint64_t start_us = now_us();
    struct progress progress;
    progress_begin(&progress, cli);
    for (;;) {
        int error = mom_wait_ready(cli->node, SLICE_MS);
        char detail[TEXT_BYTES];
        snprintf(detail, sizeof detail, "%s", mom_last_error_text());
        int waited_ms = (int)((now_us() - start_us) / 1000);
        if (error == 0 || (error == MOM_TIMEOUT && is_member(cli->node))) {
            progress_end(&progress);
            return 0;
        }
        if (error != MOM_TIMEOUT) {
            progress_end(&progress);
            return fail_text(cli, error, detail[0] != 0 ? detail : mom_strerror(error),
                             mom_err_advice(error));
        }
        if (waited_ms >= limit_ms || signals_came()) {
            progress_end(&progress);
            return fail_unreached(cli, detail);
        }
        if (waited_ms >= SHOW_WAIT_MS) {
            progress_wait(&progress, detail);
        }
    }
}

static int open_with(struct cli *cli, const mom_options *options) {
    int error = mom_open(options, &cli->node);
    if (error != 0) {
        cli->node = NULL;
        return fail_mom(cli, error, "",
                        error == MOM_CONFLICT && cli->data != NULL
                            ? "use the running node: --peer ADDRESS"
                            : NULL);
    }
    return wait_member(cli);
}

int cli_open(struct cli *cli) {
    mom_options options;
    mom_options_init(&options);
    if (cli->data != NULL) {
        options.data_dir = cli->data;
    } else {
        options.join = cli->peer;
        options.role = MOM_ROLE_CLIENT;
    }
    return open_with(cli, &options);
}

int cli_open_memory(struct cli *cli) {
    mom_options options;
    mom_options_init(&options);
    options.memory = true;
    return open_with(cli, &options);
}

int cli_close(struct cli *cli) {
    if (cli->node == NULL) {
        return 0;
    }
    int error = mom_close(cli->node, CLOSE_TIMEOUT_MS);
    cli->node = NULL;
    if (error == 0 || error == MOM_TIMEOUT) {
        return 0; /* not orderly; what was acknowledged is safe all the same */
    }
    return fail_mom(cli, error, "closing", NULL);
}
