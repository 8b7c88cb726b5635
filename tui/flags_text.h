/* Settings as flags of the command line. Texts end with a zero and are cut where the buffer ends. */
#ifndef UI_FLAGS_TEXT_H
#define UI_FLAGS_TEXT_H

#include "qx/preset.h"

#include <stddef.h>

/* Append a word for the shell, quoted when it holds more than plain characters; a flag and its value
 * (NULL = none). */
void ui_word_add(char *out, size_t cap, const char *word);
void ui_flag_add(char *out, size_t cap, const char *flag, const char *value);
/* Append the flags that give a layer this setting: nothing for fp32. */
void ui_flags_of_setting(char *out, size_t cap, const struct qx_setting *s);
/* Append the flags of a preset; with a session whose recipe it is, its exceptions as --keep (NULL: without). */
void ui_flags_of_preset(char *out, size_t cap, const struct qx_preset *p,
                        const struct qx_session *s);

#endif
