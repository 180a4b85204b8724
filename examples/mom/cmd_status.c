/* SPDX-License-Identifier: Apache-2.0 */
/* mom status: the mesh as the node sees it that this program is, or a client of. */
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "json.h"
#include "output.h"

enum { WATCH_EVERY_MS = 1000, NAME_COLUMN = 20 };

static const char *role_name(mom_role role) {
    return role == MOM_ROLE_STORE ? "store" : role == MOM_ROLE_CLIENT ? "client" : "?";
}

/* The name of a node, or its id in `text`. */
static const char *node_name(const mom_status *status, uint64_t id, char text[32]) {
    mom_node_info node;
    for (size_t i = 0; i < mom_status_nodes_count(status); i++) {
        mom_node_info_init(&node);
        if (mom_status_node(status, i, &node) == 0 && node.node == id &&
            node.name[0] != 0) {
            return node.name;
        }
    }
    if (id == 0) {
        return "-";
    }
    snprintf(text, 32, "%016" PRIx64, id);
    return text;
}

static uint32_t replicas_count(const mom_shard_info *shard) {
    return shard->replicas_count < MOM_REPLICAS_MAX ? shard->replicas_count
                                                    : MOM_REPLICAS_MAX;
}

static void print_nodes(const mom_status *status) {
    printf("%-*s %-16s %-6s %-4s %5s %6s %5s  %s\n", NAME_COLUMN, "node", "id", "role",
           "up", "leads", "copies", "opens", "address");
    for (size_t i = 0; i < mom_status_nodes_count(status); i++) {
        mom_node_info node;
        mom_node_info_init(&node);
        if (mom_status_node(status, i, &node) != 0) {
            break;
        }
        printf("%-*s %016" PRIx64 " %-6s %-4s %5" PRIu32 " %6" PRIu32 " %5" PRIu64
               "  %s%s\n",
               NAME_COLUMN, node.name, node.node, role_name(node.role),
               node.is_up ? "yes" : "NO", node.leads, node.copies, node.incarnation,
               node.address, node.is_self ? " (this program)" : "");
    }
}

static void print_shards(const mom_status *status) {
    printf("%-8s %-*s %6s %12s  %s\n", "shard", NAME_COLUMN, "leader", "term", "applied",
           "copies");
    for (size_t i = 0; i < mom_status_shards_count(status); i++) {
        mom_shard_info shard;
        mom_shard_info_init(&shard);
        char text[32];
        if (mom_status_shard(status, i, &shard) != 0) {
            break;
        }
        char number[16];
        char applied[32] = "-";
        snprintf(number, sizeof number, "%" PRIu32 "%s", shard.shard,
                 shard.shard == 0 ? " (reg)" : "");
        if (shard.is_here) {
            snprintf(applied, sizeof applied, "%" PRIu64, shard.applied);
        }
        printf("%-8s %-*s %6" PRIu64 " %12s ", number, NAME_COLUMN,
               node_name(status, shard.leader, text), shard.term, applied);
        for (uint32_t k = 0; k < replicas_count(&shard); k++) {
            printf(" %s", node_name(status, shard.replicas[k], text));
        }
        putchar('\n');
    }
}

static void print_text(const mom_status *status, const mom_mesh_info *mesh) {
    printf("mesh %s: %zu nodes, %" PRIu32 " shards, %" PRIu32 " copies, %s%s\n\n",
           mesh->mesh_id, mom_status_nodes_count(status), mesh->shards, mesh->copies,
           mesh->is_durable ? "on disk" : "IN MEMORY ONLY",
           mesh->is_ready ? "" : "; some shards have no leader now");
    print_nodes(status);
    putchar('\n');
    print_shards(status);
}

static void json_nodes(struct json *json, const mom_status *status) {
    json_open(json, "nodes", '[');
    for (size_t i = 0; i < mom_status_nodes_count(status); i++) {
        mom_node_info node;
        mom_node_info_init(&node);
        if (mom_status_node(status, i, &node) != 0) {
            break;
        }
        json_open(json, NULL, '{');
        json_text(json, "name", node.name);
        json_id(json, "node", node.node);
        json_text(json, "role", role_name(node.role));
        json_bool(json, "is_up", node.is_up);
        json_bool(json, "is_self", node.is_self);
        json_number(json, "leads", node.leads);
        json_number(json, "copies", node.copies);
        json_number(json, "incarnation", node.incarnation);
        json_text(json, "address", node.address);
        json_close(json, '}');
    }
    json_close(json, ']');
}

static void json_shards(struct json *json, const mom_status *status) {
    json_open(json, "shards", '[');
    for (size_t i = 0; i < mom_status_shards_count(status); i++) {
        mom_shard_info shard;
        mom_shard_info_init(&shard);
        char text[32];
        if (mom_status_shard(status, i, &shard) != 0) {
            break;
        }
        json_open(json, NULL, '{');
        json_number(json, "shard", shard.shard);
        json_id(json, "leader", shard.leader);
        json_text(json, "leader_name",
                  shard.leader == 0 ? "" : node_name(status, shard.leader, text));
        json_number(json, "term", shard.term);
        json_open(json, "replicas", '[');
        for (uint32_t k = 0; k < replicas_count(&shard); k++) {
            json_id(json, NULL, shard.replicas[k]);
        }
        json_close(json, ']');
        if (shard.is_here) {
            json_number(json, "commit", shard.commit);
            json_number(json, "applied", shard.applied);
        }
        json_close(json, '}');
    }
    json_close(json, ']');
}

static void print_json(const mom_status *status, const mom_mesh_info *mesh) {
    struct json json = {.out = stdout};
    json_open(&json, NULL, '{');
    json_text(&json, "mesh", mesh->mesh_id);
    json_id(&json, "node", mesh->node);
    json_number(&json, "shards_count", mesh->shards);
    json_number(&json, "copies", mesh->copies);
    json_bool(&json, "is_ready", mesh->is_ready);
    json_bool(&json, "is_durable", mesh->is_durable);
    json_nodes(&json, status);
    json_shards(&json, status);
    json_close(&json, '}');
    json_line(&json);
}

static int show(struct cli *cli) {
    mom_status *status = NULL;
    mom_mesh_info mesh;
    mom_mesh_info_init(&mesh);
    int error = mom_status_get(cli->node, &status, cli->timeout_ms);
    if (error == 0) {
        error = mom_status_mesh(status, &mesh);
    }
    if (error != 0) {
        mom_status_free(status);
        return fail_mom(cli, error, "status", NULL);
    }
    if (cli->json) {
        print_json(status, &mesh);
    } else {
        print_text(status, &mesh);
    }
    mom_status_free(status);
    return finish_output(cli);
}

int cmd_status(struct cli *cli) {
    int status = cli_open(cli);
    if (status != 0 || !args_has(&cli->args, OPT_WATCH)) {
        return status == 0 ? show(cli) : status;
    }
    signals_catch();
    bool is_screen = !cli->json && isatty(STDOUT_FILENO) == 1;
    while (!signals_came()) {
        fputs(is_screen ? "\033[H\033[2J" : "", stdout);
        status = show(cli);
        if (status != 0) {
            return status;
        }
        struct pollfd fd = {.fd = signals_fd(), .events = POLLIN};
        (void)poll(&fd, 1, WATCH_EVERY_MS);
        if (!is_screen && !cli->json && !signals_came()) {
            putchar('\n');
        }
    }
    return 0;
}
