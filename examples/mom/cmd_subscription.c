/* SPDX-License-Identifier: Apache-2.0 */
/* mom subscription ...: lasting readers of topics. */
#include <string.h>

#include "describe.h"
#include "output.h"
#include "subscribing.h"

enum { TEXT_BYTES = 1200 };

static int read_from(const struct cli *cli, mom_subscription_options *options) {
    const char *from = args_value(&cli->args, OPT_FROM);
    if (from == NULL || strcmp(from, "new") == 0) {
        options->from = MOM_FROM_NEW;
    } else if (strcmp(from, "first") == 0) {
        options->from = MOM_FROM_FIRST;
    } else if (parse_number(from, 0, UINT64_MAX, &options->from_sequence)) {
        options->from = MOM_FROM_SEQUENCE;
    } else if (parse_moment(from, &options->from_time_us)) {
        options->from = MOM_FROM_TIME;
    } else {
        return fail_usage(cli,
                          "--from %s: first, new, a sequence number, or a time "
                          "(2026-01-31T12:00:00Z, or -10m for so long ago)",
                          from);
    }
    return 0;
}

int read_subscription(const struct cli *cli, mom_subscription_options *options) {
    options->ignore_own = args_has(&cli->args, OPT_IGNORE_OWN);
    for (size_t i = 0; args_value_at(&cli->args, OPT_FILTER, i) != NULL; i++) {
        int error = mom_subscription_options_set(
            options, "filter", args_value_at(&cli->args, OPT_FILTER, i));
        if (error != 0) {
            return fail_mom(cli, error, "--filter", NULL);
        }
    }
    return read_from(cli, options);
}

int fail_subscription(const struct cli *cli, int error, const char *topic,
                      const char *name) {
    char topic_word[TEXT_BYTES];
    char name_word[TEXT_BYTES];
    char next[3 * TEXT_BYTES];
    shell_word(topic, topic_word, sizeof topic_word);
    shell_word(name, name_word, sizeof name_word);
    switch (error) {
    case MOM_NOT_FOUND:
        return fail_stream(cli, error, "topic", topic);
    case MOM_NOT_SUBSCRIBED:
        snprintf(next, sizeof next, "create it: mom subscription create %s %s",
                 topic_word, name_word);
        return fail_mom(cli, error, name_word, next);
    case MOM_CONFLICT:
        snprintf(next, sizeof next,
                 "use the filters it was created with, or delete it first: mom "
                 "subscription delete %s %s",
                 topic_word, name_word);
        return fail_mom(cli, error, name_word, next);
    default:
        return fail_mom(cli, error, name_word, NULL);
    }
}

int cmd_subscription_create(struct cli *cli) {
    const char *topic = cli->args.words[0];
    const char *name = cli->args.words[1];
    mom_subscription_options *options = mom_subscription_options_new();
    if (options == NULL) {
        return fail_text(cli, MOM_NO_MEMORY, "options", mom_err_advice(MOM_NO_MEMORY));
    }
    options->if_missing = args_has(&cli->args, OPT_IF_MISSING);
    int status = read_subscription(cli, options);
    status = status == 0 ? cli_open(cli) : status;
    if (status == 0) {
        int error =
            mom_subscription_create(cli->node, topic, name, options, cli->timeout_ms);
        status =
            error == 0 ? print_done(cli) : fail_subscription(cli, error, topic, name);
    }
    mom_subscription_options_free(options);
    return status;
}

int cmd_subscription_list(struct cli *cli) {
    const char *topic = cli->args.words[0];
    mom_list *list = NULL;
    int status = cli_open(cli);
    if (status != 0) {
        return status;
    }
    int error = mom_subscription_list(cli->node, topic, &list, cli->timeout_ms);
    if (error != 0) {
        return fail_stream(cli, error, "topic", topic);
    }
    status = print_list(cli, list, false);
    mom_list_free(list);
    return status;
}

int cmd_subscription_info(struct cli *cli) {
    const char *topic = cli->args.words[0];
    const char *name = cli->args.words[1];
    mom_stream_info info;
    mom_stream_info_init(&info);
    int status = cli_open(cli);
    if (status != 0) {
        return status;
    }
    int error = mom_subscription_info(cli->node, topic, name, &info, cli->timeout_ms);
    return error == 0 ? describe(cli, DESCRIBED_SUBSCRIPTION, topic, name, &info)
                      : fail_subscription(cli, error, topic, name);
}

int cmd_subscription_delete(struct cli *cli) {
    const char *topic = cli->args.words[0];
    const char *name = cli->args.words[1];
    int status = cli_open(cli);
    if (status != 0) {
        return status;
    }
    int error = mom_subscription_delete(cli->node, topic, name, cli->timeout_ms);
    return error == 0 ? print_done(cli) : fail_subscription(cli, error, topic, name);
}
