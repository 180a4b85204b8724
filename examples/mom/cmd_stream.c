/* SPDX-License-Identifier: Apache-2.0 */
/* mom queue ... and mom topic ...: one code for both, told apart by the noun. */
#include <string.h>

#include "describe.h"
#include "output.h"

enum { OPTION_BYTES_MAX = 256 };

static bool is_topic(const struct cli *cli) {
    return strcmp(cli->command->noun, "topic") == 0;
}

/* Takes every --set OPTION=VALUE. */
static int read_settings(const struct cli *cli, mom_stream_options *options) {
    for (size_t i = 0;; i++) {
        const char *setting = args_value_at(&cli->args, OPT_SET, i);
        if (setting == NULL) {
            return 0;
        }
        const char *equals = strchr(setting, '=');
        char name[OPTION_BYTES_MAX];
        if (equals == NULL || (size_t)(equals - setting) >= sizeof name) {
            return fail_usage(cli, "--set %s: OPTION=VALUE is needed", setting);
        }
        memcpy(name, setting, (size_t)(equals - setting));
        name[equals - setting] = 0;
        int error = mom_stream_options_set(options, name, equals + 1);
        if (error != 0) {
            return fail_mom(cli, error, "--set", "`mom help queue create` lists them");
        }
    }
}

int cmd_stream_create(struct cli *cli) {
    const char *name = cli->args.words[0];
    mom_stream_options *options = mom_stream_options_new();
    if (options == NULL) {
        return fail_text(cli, MOM_NO_MEMORY, "options", mom_err_advice(MOM_NO_MEMORY));
    }
    options->if_missing = args_has(&cli->args, OPT_IF_MISSING);
    int status = read_settings(cli, options);
    status = status == 0 ? cli_open(cli) : status;
    if (status == 0) {
        int error = is_topic(cli)
                        ? mom_topic_create(cli->node, name, options, cli->timeout_ms)
                        : mom_queue_create(cli->node, name, options, cli->timeout_ms);
        status = error == 0 ? print_done(cli)
                            : fail_stream(cli, error, cli->command->noun, name);
    }
    mom_stream_options_free(options);
    return status;
}

int cmd_stream_delete(struct cli *cli) {
    const char *name = cli->args.words[0];
    int status = cli_open(cli);
    if (status != 0) {
        return status;
    }
    int error = is_topic(cli) ? mom_topic_delete(cli->node, name, cli->timeout_ms)
                              : mom_queue_delete(cli->node, name, cli->timeout_ms);
    return error == 0 ? print_done(cli)
                      : fail_stream(cli, error, cli->command->noun, name);
}

int cmd_queue_purge(struct cli *cli) {
    const char *name = cli->args.words[0];
    int status = cli_open(cli);
    if (status != 0) {
        return status;
    }
    int error = mom_queue_purge(cli->node, name, cli->timeout_ms);
    return error == 0 ? print_done(cli) : fail_stream(cli, error, "queue", name);
}

int cmd_stream_info(struct cli *cli) {
    const char *name = cli->args.words[0];
    mom_stream_info info;
    mom_stream_info_init(&info);
    int status = cli_open(cli);
    if (status != 0) {
        return status;
    }
    int error = is_topic(cli) ? mom_topic_info(cli->node, name, &info, cli->timeout_ms)
                              : mom_queue_info(cli->node, name, &info, cli->timeout_ms);
    if (error != 0) {
        return fail_stream(cli, error, cli->command->noun, name);
    }
    return describe(cli, is_topic(cli) ? DESCRIBED_TOPIC : DESCRIBED_QUEUE, NULL, name,
                    &info);
}

int cmd_stream_list(struct cli *cli) {
    mom_list *list = NULL;
    int status = cli_open(cli);
    if (status != 0) {
        return status;
    }
    int error = is_topic(cli) ? mom_topic_list(cli->node, &list, cli->timeout_ms)
                              : mom_queue_list(cli->node, &list, cli->timeout_ms);
    if (error != 0) {
        return fail_mom(cli, error, "list", NULL);
    }
    status = print_list(cli, list, args_has(&cli->args, OPT_OWN));
    mom_list_free(list);
    return status;
}
