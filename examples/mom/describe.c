/* SPDX-License-Identifier: Apache-2.0 */
/* What queues, topics and subscriptions have in common, as text and as JSON. */
#include "describe.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "json.h"
#include "output.h"

enum { TIME_BYTES = 40 };

static const char *time_text(uint64_t us, char text[TIME_BYTES]) {
    time_t seconds = (time_t)(us / 1000000);
    struct tm tm;
    if (gmtime_r(&seconds, &tm) == NULL ||
        strftime(text, TIME_BYTES, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0) {
        snprintf(text, TIME_BYTES, "%" PRIu64, us);
    }
    return text;
}

static uint32_t replicas_count(const mom_stream_info *info) {
    return info->replicas_count < MOM_REPLICAS_MAX ? info->replicas_count
                                                   : MOM_REPLICAS_MAX;
}

/* What is in it: waiting and delivered, or the history of a topic. */
static uint64_t depth_of(const mom_stream_info *info) {
    return info->messages_ready + info->messages_leased;
}

static void print_limit(const char *name, uint64_t value, const char *unit) {
    if (value != 0) {
        printf("%-16s %" PRIu64 "%s\n", name, value, unit);
    }
}

static void print_text(enum described what, const char *topic, const char *name,
                       const mom_stream_info *info) {
    static const char *const nouns[] = {"queue", "topic", "subscription"};
    char text[TIME_BYTES];
    printf("%-16s %s\n", nouns[what], name);
    if (topic != NULL) {
        printf("%-16s %s\n", "topic", topic);
    }
    printf("%-16s %" PRIu32 "\n", "shard", info->shard);
    printf("%-16s %s\n", "leader", info->leader_name);
    printf("%-16s %" PRIu32 " (", "copies", replicas_count(info));
    for (uint32_t i = 0; i < replicas_count(info); i++) {
        printf("%s%016" PRIx64, i == 0 ? "" : ", ", info->replicas[i]);
    }
    printf(")\n%-16s %" PRIu64 " (%" PRIu64 " bytes)\n",
           what == DESCRIBED_TOPIC ? "kept" : "waiting", info->messages_ready,
           info->bytes);
    if (what == DESCRIBED_TOPIC) {
        printf("%-16s %" PRIu64 "\n", "subscriptions", info->subscriptions);
    } else {
        printf("%-16s %" PRIu64 "\n", "delivered", info->messages_leased);
        printf("%-16s %" PRIu64 "\n", "consumers", info->consumers);
        printf("%-16s %" PRIu64 "\n", "redelivered", info->redelivered);
        printf("%-16s %" PRIu64 "\n", "dead-lettered", info->dead_lettered);
        printf("%-16s %s%s%s\n", "state", info->is_filling ? "filling" : "in use",
               info->temporary ? ", temporary" : "",
               info->ignore_own ? ", ignores own" : "");
    }
    printf("%-16s %" PRIu64 " to %" PRIu64 "\n", "sequence", info->sequence_first,
           info->sequence_next);
    printf("%-16s %s by %016" PRIx64 "\n", "created", time_text(info->created_us, text),
           info->creator);
    print_limit("lease", info->lease_ms, " ms");
    print_limit("deliveries max", info->deliveries_max, "");
    print_limit("messages max", info->messages_max, "");
    print_limit("bytes max", info->bytes_max, "");
    if (what == DESCRIBED_TOPIC) {
        print_limit("retention", info->retention_ms, " ms");
        print_limit("retention", info->retention_bytes, " bytes");
        print_limit("retention", info->retention_count, " messages");
    }
}

static void json_options(struct json *json, const mom_stream_info *info) {
    json_open(json, "options", '{');
    json_number(json, "lease_ms", info->lease_ms);
    json_number(json, "deliveries_max", info->deliveries_max);
    json_number(json, "messages_max", info->messages_max);
    json_number(json, "bytes_max", info->bytes_max);
    json_number(json, "retention_ms", info->retention_ms);
    json_number(json, "retention_bytes", info->retention_bytes);
    json_number(json, "retention_count", info->retention_count);
    json_bool(json, "no_dead_letter", info->no_dead_letter);
    json_close(json, '}');
}

static void print_json(enum described what, const char *topic, const char *name,
                       const mom_stream_info *info) {
    struct json json = {.out = stdout};
    json_open(&json, NULL, '{');
    json_text(&json, "name", name);
    if (topic != NULL) {
        json_text(&json, "topic", topic);
    }
    json_number(&json, "shard", info->shard);
    json_text(&json, "leader", info->leader_name);
    json_id(&json, "leader_id", info->leader);
    json_open(&json, "replicas", '[');
    for (uint32_t i = 0; i < replicas_count(info); i++) {
        json_id(&json, NULL, info->replicas[i]);
    }
    json_close(&json, ']');
    json_number(&json, "depth", depth_of(info));
    json_number(&json, "messages_ready", info->messages_ready);
    json_number(&json, "messages_leased", info->messages_leased);
    json_number(&json, "bytes", info->bytes);
    json_number(&json, "sequence_first", info->sequence_first);
    json_number(&json, "sequence_next", info->sequence_next);
    json_number(&json, "consumers", info->consumers);
    if (what == DESCRIBED_TOPIC) {
        json_number(&json, "subscriptions", info->subscriptions);
    }
    if (what == DESCRIBED_SUBSCRIPTION) {
        json_bool(&json, "temporary", info->temporary);
        json_bool(&json, "ignore_own", info->ignore_own);
        json_bool(&json, "is_filling", info->is_filling);
    }
    json_number(&json, "redelivered", info->redelivered);
    json_number(&json, "dead_lettered", info->dead_lettered);
    json_number(&json, "created_us", info->created_us);
    json_id(&json, "creator", info->creator);
    json_options(&json, info);
    json_close(&json, '}');
    json_line(&json);
}

int describe(struct cli *cli, enum described what, const char *topic, const char *name,
             const mom_stream_info *info) {
    if (cli->json) {
        print_json(what, topic, name, info);
    } else {
        print_text(what, topic, name, info);
    }
    return finish_output(cli);
}

int print_list(struct cli *cli, const mom_list *list, bool only_own) {
    struct json json = {.out = stdout};
    if (cli->json) {
        json_open(&json, NULL, '[');
    }
    for (size_t i = 0; i < mom_list_count(list); i++) {
        if (only_own && !mom_list_is_own(list, i)) {
            continue;
        }
        if (cli->json) {
            json_text(&json, NULL, mom_list_name(list, i));
        } else {
            printf("%s\n", mom_list_name(list, i));
        }
    }
    if (cli->json) {
        json_close(&json, ']');
        json_line(&json);
    }
    return finish_output(cli);
}

int print_done(struct cli *cli) {
    if (cli->json) {
        struct json json = {.out = stdout};
        json_open(&json, NULL, '{');
        json_text(&json, "result", "OK");
        json_close(&json, '}');
        json_line(&json);
    }
    return finish_output(cli);
}
