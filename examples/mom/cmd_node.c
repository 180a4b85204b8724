/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mom node: a node that stores and serves until SIGTERM or SIGINT. `ready ...` on
 * standard output once it serves; its log on standard error.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#include "json.h"
#include "output.h"

enum { LOOK_EVERY_MS = 1000, TEXT_BYTES = 512 };

static void on_log(mom_log_level level, const char *id, const char *group,
                   const char *message, void *user) {
    static const char *const names[] = {"", "error", "warning", "info", "debug"};
    (void)user;
    struct timespec now;
    struct tm tm;
    char text[64];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    fprintf(stderr, "%s.%03ldZ %s %s %s: %s\n", text, now.tv_nsec / 1000000,
            names[level <= MOM_LOG_DEBUG ? level : MOM_LOG_DEBUG], group, id, message);
}

static bool read_level(const char *text, mom_log_level *level) {
    static const struct {
        const char *name;
        mom_log_level level;
    } levels[] = {{"error", MOM_LOG_ERROR},
                  {"warning", MOM_LOG_WARNING},
                  {"info", MOM_LOG_INFO},
                  {"debug", MOM_LOG_DEBUG}};
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        if (strcmp(levels[i].name, text) == 0) {
            *level = levels[i].level;
            return true;
        }
    }
    return false;
}

static int read_options(const struct cli *cli, mom_options *options) {
    const struct args *args = &cli->args;
    const char *copies = args_value(args, OPT_COPIES);
    const char *shards = args_value(args, OPT_SHARDS);
    const char *level = args_value(args, OPT_LOG);
    uint64_t number = 0;
    options->data_dir = cli->data;
    options->memory = args_has(args, OPT_MEMORY);
    options->listen = args_value(args, OPT_LISTEN);
    options->advertise = args_value(args, OPT_ADVERTISE);
    options->join = args_value(args, OPT_JOIN);
    options->form = args_value(args, OPT_FORM);
    options->name = args_value(args, OPT_NAME);
    options->log = on_log;
    if (args_has(args, OPT_PEER)) {
        return fail_usage(cli, "a node has no --peer; to become a member, use --join");
    }
    if ((cli->data != NULL) == options->memory) {
        return fail_usage(cli, "a node needs --data DIR, or --memory instead");
    }
    if (options->join != NULL && options->form != NULL) {
        return fail_usage(cli, "--join and --form: one of them, not both");
    }
    if (options->listen == NULL) {
        options->listen = PEER_DEFAULT;
    }
    if (copies != NULL) {
        if (!parse_number(copies, 1, MOM_REPLICAS_MAX, &number)) {
            return fail_usage(cli, "--copies %s: 1 to 9", copies);
        }
        options->copies = (uint32_t)number;
    }
    if (shards != NULL) {
        if (!parse_number(shards, 1, 256, &number)) {
            return fail_usage(cli, "--shards %s: 1 to 256", shards);
        }
        options->shards = (uint32_t)number;
    }
    if (level != NULL && !read_level(level, &options->log_level)) {
        return fail_usage(cli, "--log %s: error, warning, info or debug", level);
    }
    return 0;
}

/* Waits for a signal, or for `fd` unless it is negative. True: it was `fd`. */
static bool wait_for(int fd, int timeout_ms) {
    struct pollfd fds[2] = {{.fd = signals_fd(), .events = POLLIN},
                            {.fd = fd, .events = POLLIN}};
    int ready = signals_came() ? 0 : poll(fds, 2, timeout_ms);
    return ready > 0 && (fds[1].revents & POLLIN) != 0;
}

/* Waits until the node serves; says now and then what it waits for. */
static int wait_ready(struct cli *cli) {
    mom_completions *completions = NULL;
    int error = mom_completions_open(cli->node, &completions);
    if (error == 0) {
        error = mom_wait_ready_submit(cli->node, MOM_FOREVER, completions, NULL);
    }
    if (error != 0) {
        mom_completions_close(completions);
        return fail_mom(cli, error, "", NULL);
    }
    int status = 0;
    char shown[TEXT_BYTES] = "";
    while (!signals_came()) {
        mom_completion completion;
        size_t count = 0;
        bool is_done = wait_for(mom_completions_fd(completions), LOOK_EVERY_MS);
        if (is_done &&
            mom_completions_wait(completions, &completion, 1, &count, 0) == 0) {
            if (completion.error != 0) {
                /* Its text is asked for by a call of this thread. */
                (void)mom_wait_ready(cli->node, 0);
                status = fail_mom(cli, completion.error, "", NULL);
            }
            break;
        }
        const char *text =
            mom_wait_ready(cli->node, 0) == MOM_TIMEOUT ? mom_last_error_text() : "";
        if (strcmp(text, shown) != 0 && text[0] != 0) {
            snprintf(shown, sizeof shown, "%s", text);
            fprintf(stderr, "mom: waiting: %s\n", shown);
        }
    }
    mom_completions_close(completions);
    return status;
}

static int print_ready(struct cli *cli) {
    mom_status *mesh_status = NULL;
    mom_mesh_info mesh;
    mom_mesh_info_init(&mesh);
    int error = mom_status_get(cli->node, &mesh_status, cli->timeout_ms);
    if (error == 0) {
        error = mom_status_mesh(mesh_status, &mesh);
        mom_status_free(mesh_status);
    }
    if (error != 0) {
        return fail_mom(cli, error, "status", NULL);
    }
    const char *address = mom_node_address(cli->node);
    if (cli->json) {
        struct json json = {.out = stdout};
        json_open(&json, NULL, '{');
        json_bool(&json, "ready", true);
        json_text(&json, "name", mom_node_name(cli->node));
        json_id(&json, "node", mom_node_id(cli->node));
        json_text(&json, "mesh", mesh.mesh_id);
        json_text(&json, "address", address);
        json_bool(&json, "is_durable", mom_node_is_durable(cli->node));
        json_close(&json, '}');
        json_line(&json);
    } else {
        printf("ready %s %016" PRIx64 " %s %s\n", mom_node_name(cli->node),
               mom_node_id(cli->node), mesh.mesh_id, address[0] != 0 ? address : "-");
    }
    return finish_output(cli);
}

/* Until a signal comes, or the node's store has failed. */
static int serve(struct cli *cli) {
    while (!signals_came()) {
        (void)wait_for(-1, LOOK_EVERY_MS);
        mom_status *status = NULL;
        int error = signals_came() ? 0 : mom_status_get(cli->node, &status, MOM_FOREVER);
        mom_status_free(status);
        if (error != 0) {
            return fail_mom(cli, error, "", NULL);
        }
    }
    return 0;
}

int cmd_node(struct cli *cli) {
    mom_options options;
    mom_options_init(&options);
    int status = read_options(cli, &options);
    if (status != 0) {
        return status;
    }
    signals_catch();
    int error = mom_open(&options, &cli->node);
    if (error != 0) {
        cli->node = NULL;
        return fail_mom(cli, error, "", NULL);
    }
    status = wait_ready(cli);
    if (status == 0 && !signals_came()) {
        status = print_ready(cli);
    }
    if (status == 0) {
        status = serve(cli);
    }
    return status;
}
