/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A look at the ends of a database's table files before RocksDB reads them.
 */
#ifndef MOMI_PORT_TABLES_H
#define MOMI_PORT_TABLES_H

/* The footer of a table carries no checksum itself, and names the kind of all others. One
 * damaged byte there makes "none" of it, and RocksDB takes what it then reads for what
 * was written: as packaged it ends the process with an assertion (measured). We write no
 * table without checksums: MOM_CORRUPT for one that says so. MOM_IO. */
int momi_tables_check(int dir_fd, const char *name);

#endif
