/* SPDX-License-Identifier: Apache-2.0 */
/* First inputs of fuzz_names.c. */
#include "fuzz/corpus.h"

void corpus_make_texts(void) {
    static const char *const names[] = {"va.*.#",
                                        "v#",
                                        "va*",
                                        "v\xc3\xa9.\xf0\x9f\x90\xab",
                                        "n0orders",
                                        "n1mail",
                                        "n1a/b",
                                        "n0$dead/queue/q",
                                        "n0$dead/topic/t/s",
                                        "n0$other",
                                        "n0{tag}.rest",
                                        "n2node",
                                        "n0\xed\xa0\x80",
                                        "n0\xc2\x85",
                                        "n0$dead/topic/t"};
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        corpus_write("names", "name", i, 0, momi_slice_str(names[i]));
    }
    static const struct {
        const char *text;
        size_t size;
    } matches[] = {{"fa.b\0a.b", 8},
                   {"f#.a.*\0b.a.c", 12},
                   {"fa.#.c\0a.c.c.b.c", 16},
                   {"f#.b.#.d.#\0a.b.c.d.e", 20},
                   {"f*\0", 3},
                   {"f#\0", 3},
                   {"fa..b\0a..b", 10},
                   {"f#.#.a\0a.a.a", 12}};
    for (unsigned i = 0; i < sizeof matches / sizeof matches[0]; i++) {
        corpus_write("names", "match", i, 0,
                     momi_slice(matches[i].text, matches[i].size));
    }
}
