/* Files written whole or not at all. */
#ifndef UI_FILE_H
#define UI_FILE_H

#include <limits.h>
#include "qx/status.h"

#include <stdbool.h>
#include <stdio.h>

/* Written beside `path` and put in its place at the end; devices and pipes are written to as they are. Not forced
 * to the disk. */
struct ui_file {
    FILE *f;
    const char *path;    /* borrowed */
    char temp[PATH_MAX]; /* "": path itself */
};
/* False with errno; nothing is to be ended then. */
bool ui_file_begin(struct ui_file *o, const char *path);
/* False with errno when something could not be written: what stood at path stands there still. */
bool ui_file_end(struct ui_file *o);
/* All at once. */
bool ui_file_write(const char *path, const char *text, size_t len);

/* What an errno of these means: QX_ENOSPC when there is no room, else QX_EIO. */
enum qx_status ui_file_status(int code);

#endif
