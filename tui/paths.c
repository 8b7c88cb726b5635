/* Where things lie: installed or beside the source, and the user's XDG folders. */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* mkdir -p; failures show when something is written there. */
static void make_dirs(char *path)
{
    for (char *p = path + 1; *p; p++) {
        if (*p == '/') {
            *p = 0;
            (void)mkdir(path, 0700);
            *p = '/';
        }
    }
    (void)mkdir(path, 0700);
}

/* $VAR/qexplore, else $HOME/fallback/qexplore, into buf. An XDG path must be absolute. */
static const char *xdg(const char *var, const char *fallback, char *buf, size_t cap)
{
    const char *base = getenv(var);
    const char *home = getenv("HOME");
    if (base && base[0] == '/') {
        snprintf(buf, cap, "%s/qexplore", base);
    } else if (home && home[0] == '/') {
        snprintf(buf, cap, "%s/%s/qexplore", home, fallback);
    } else {
        return NULL;
    }
    make_dirs(buf);
    return buf;
}

const char *ui_path_cache(void)
{
    static char buf[4096];
    return xdg("XDG_CACHE_HOME", ".cache", buf, sizeof buf);
}

const char *ui_path_state(void)
{
    static char buf[4096];
    return xdg("XDG_STATE_HOME", ".local/state", buf, sizeof buf);
}

const char *ui_path_data(void)
{
    static char buf[4096];
    return xdg("XDG_DATA_HOME", ".local/share", buf, sizeof buf);
}

const char *ui_path_config(void)
{
    static char buf[4096];
    return xdg("XDG_CONFIG_HOME", ".config", buf, sizeof buf);
}

/* Of the folders of XDG_DATA_DIRS the first that has data sets, else the last one's. */
const char *ui_path_datasets(void)
{
    static char buf[4096];
    const char *dirs = getenv("XDG_DATA_DIRS");
    for (const char *at = dirs && dirs[0] ? dirs : "/usr/local/share:/usr/share"; *at;) {
        const size_t n = strcspn(at, ":");
        snprintf(buf, sizeof buf, "%.*s/datasets", (int)n, at);
        if (is_dir(buf)) {
            break;
        }
        at += n + (at[n] == ':');
    }
    return buf;
}

/* The folder `name` beside the source when the program runs from its build folder, else the
 * installed one relative to the program (bin/../share/qexplore/name), else the compiled-in one. */
static const char *data_dir(const char *name, char *buf, size_t cap)
{
    char exe[3072];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n > 0) {
        exe[n] = 0;
        if (strncmp(exe, QX_BUILD_ROOT "/", sizeof QX_BUILD_ROOT) == 0) {
            snprintf(buf, cap, "%s/%s", QX_SOURCE_ROOT, name);
            if (is_dir(buf)) {
                return buf;
            }
        }
        char *slash = strrchr(exe, '/');
        *slash = 0;
        snprintf(buf, cap, "%s/../share/qexplore/%s", exe, name);
        if (is_dir(buf)) {
            return buf;
        }
    }
    snprintf(buf, cap, "%s/%s", QX_DATA_DIR, name);
    return is_dir(buf) ? buf : NULL;
}

const char *ui_path_assets(void)
{
    static char buf[4096];
    return data_dir("assets", buf, sizeof buf);
}

const char *ui_path_samples(void)
{
    static char buf[4096];
    return data_dir("samples", buf, sizeof buf);
}
