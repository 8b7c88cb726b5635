/* The user's settings file, $XDG_CONFIG_HOME/qexplore/config.json. */
#ifndef UI_CONFIG_H
#define UI_CONFIG_H

#include "cli.h"

/* Fill what the command line leaves open (theme, glyphs, mouse, animation) from the file at `path`.
 * A missing file is none; what is wrong in it is logged and left out. Strings put into args last until
 * the next call. */
void ui_config_load(const char *path, struct ui_args *args);

#endif
